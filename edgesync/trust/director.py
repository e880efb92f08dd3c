"""`desired`: TUF Targets metadata that the director signs for one board, and the root that pins the director's key.

What a board checks, in this order, each check on bytes that all earlier ones passed:
 1. size, inflated size, form (TUF's own compact JSON, byte for byte: a member cannot stand twice);
 2. the root signs itself and is not expired;
 3. the targets role of that root signs the message;
 4. the message is for this device, not older than the newest accepted one, and not expired.
Nothing that the message says is looked at before 3. This is Uptane's partial verification; the image repository that
completes it comes with the roles of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError, SerializationError

from edgesync.trust.keys import key_from_hex
from edgesync.wire import codec, fields
from edgesync.wire.errors import ConfigError, ForgedMessageError, MalformedMessageError, StaleMessageError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import ConfigTarget, Desired, Target

ROOT_LIMIT = 64 * 1024
"""Bytes of a root file."""
SPEC_VERSION = "1.0"
"""As short as TUF allows: it travels with every message."""
MEMBER = "edgesync"
"""The member of the signed Targets that holds what TUF has no field for."""
CONFIG = "config/bundle"
"""The target that is the board's config. No component can have a slash in its name."""


def create_root(director_public_hex: str, root_signer: CryptoSigner, expires: int) -> bytes:
    """TUF Root metadata that pins the director's key (64 hex digits) to the targets role, signed by the root key.

    `expires` is in unix seconds. Raises ConfigError for a `director_public_hex` that is no key.
    """
    root = Root(spec_version=SPEC_VERSION, expires=_utc(expires))
    root.add_key(root_signer.public_key, Root.type)
    root.add_key(key_from_hex(director_public_hex), Targets.type)
    metadata = Metadata(root)
    metadata.sign(root_signer)
    return metadata.to_bytes()


def sign_desired(desired: Desired, signer: CryptoSigner, expires: int) -> bytes:
    """The message for `d/<device>/desired`; `expires` is in unix seconds.

    Raises MalformedMessageError for version 0, which TUF does not know, MessageTooLargeError past the codec's limits.
    """
    if desired.version < 1:
        raise MalformedMessageError(f"desired of {desired.device}: found version {desired.version}, expected 1 or more")
    value = desired.to_dict()
    own = {key: part for key, part in value.items() if key not in ("version", "targets", "config")}
    files = {target.component: _file_of(target) for target in desired.targets}
    if desired.config:
        files[CONFIG] = _config_file_of(desired.config)
    metadata = Metadata(
        Targets(desired.version, SPEC_VERSION, _utc(expires), files, unrecognized_fields={MEMBER: own}),
    )
    metadata.sign(signer)
    return codec.pack(metadata.to_bytes())


def verify_desired(packed: bytes, root: bytes, device: DeviceId, floor: int, now: float) -> Desired:
    """What `device` shall run, its targets sorted by component.

    `root` is the root file's content, `floor` the version of the newest message accepted so far (0 for none): the same
    version again is accepted, so that a message can be delivered twice. `now` is trusted time in unix seconds.

    Raises MessageTooLargeError, MalformedMessageError, ForgedMessageError; StaleMessageError for another device, a
    version below `floor`, and past its expiry; ConfigError for a root that is not one, or expired.
    """
    metadata = _parse(codec.unpack(packed))
    trusted = _trusted(root, now)
    try:
        trusted.verify_delegate(Targets.type, _signed_bytes(metadata), metadata.signatures)
    except UnsignedMetadataError as error:
        raise ForgedMessageError(f"desired of {device}: not signed by the director's key of the root file") from error
    desired = _desired_of(metadata.signed)
    if desired.device != device:
        raise StaleMessageError(f"desired of {device}: found one for {desired.device}")
    if desired.version < floor:
        raise StaleMessageError(f"desired of {device}: found version {desired.version}, expected {floor} or newer")
    if metadata.signed.expires.timestamp() <= now:
        raise StaleMessageError(f"desired of {device}: version {desired.version} expired at {metadata.signed.expires}")
    return desired


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _trusted(data: bytes, now: float) -> Root:
    try:
        metadata = Metadata[Root].from_bytes(data)
        if not isinstance(metadata.signed, Root):
            raise ConfigError(f"root file: found {metadata.signed.type!r} metadata, expected 'root'")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, SerializationError) as error:
        raise ConfigError(f"root file: found no TUF root metadata in its {len(data)} bytes") from error
    except (UnsignedMetadataError, ValueError) as error:
        raise ConfigError(f"root file: not signed by its own root key: {error}") from error
    if metadata.signed.expires.timestamp() <= now:
        raise ConfigError(f"root file: expired at {metadata.signed.expires}; install a newer one")
    return metadata.signed


def _parse(plain: bytes) -> Metadata[Targets]:
    try:
        metadata = Metadata[Targets].from_bytes(plain)
        exact = metadata.to_bytes() == plain
    except (DeserializationError, SerializationError) as error:
        raise MalformedMessageError(f"desired: found no TUF metadata: {error.__cause__!r}") from error
    if not isinstance(metadata.signed, Targets):
        raise MalformedMessageError(f"desired: found {metadata.signed.type!r} metadata, expected 'targets'")
    if not exact:
        raise MalformedMessageError("desired: found JSON in another order or with a member twice, expected TUF's own")
    return metadata


def _signed_bytes(metadata: Metadata[Targets]) -> bytes:
    try:
        return metadata.signed_bytes
    except SerializationError as error:
        raise MalformedMessageError(f"desired: has no canonical form: {error.__cause__!r}") from error


def _file_of(target: Target) -> TargetFile:
    custom: dict[str, Any] = {"version": target.version}
    if target.source:
        custom["source"] = target.source.to_dict()
    return TargetFile(target.length, {"sha256": target.sha256}, target.component, {"custom": custom})


def _config_file_of(config: ConfigTarget) -> TargetFile:
    value = config.to_dict()
    custom = {key: part for key, part in value.items() if key not in ("sha256", "length")}
    return TargetFile(config.length, {"sha256": config.sha256}, CONFIG, {"custom": custom} if custom else {})


def _desired_of(signed: Targets) -> Desired:
    own = fields.mapping(signed.unrecognized_fields, MEMBER)
    files = dict(signed.targets)
    config = files.pop(CONFIG, None)
    value = {**own, "version": signed.version, "targets": [_target_of(file) for _, file in sorted(files.items())]}
    if config:
        value["config"] = {**_custom(config), "length": config.length, "sha256": config.hashes.get("sha256")}
    return Desired.from_dict(value)


def _target_of(file: TargetFile) -> dict[str, Any]:
    return {**_custom(file), "component": file.path, "length": file.length, "sha256": file.hashes.get("sha256")}


def _custom(file: TargetFile) -> Mapping[str, Any]:
    return fields.mapping(file.unrecognized_fields, "custom")
