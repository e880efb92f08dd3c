"""The two messages of a board's life as values: `Desired` (server to board) and `Reported` (board to server).

Their signed forms are made and checked in `edgesync.trust`; here is only what they say. `to_dict` and `from_dict`
are inverse, and `from_dict` raises MalformedMessageError for anything that `to_dict` cannot have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeVar, cast

from edgesync.wire import fields, versions
from edgesync.wire.bundle import BUNDLE_LIMIT
from edgesync.wire.errors import DETAIL_LIMIT, EdgesyncError, MalformedMessageError
from edgesync.wire.ids import BlobId, DeviceId, Digest, parse_blob, parse_device, parse_digest

COMPONENT_LIMIT = 16
"""Components of one release on one board (boot FAT, root, kernel, DTB ...)."""
FAILED_LIMIT = 32
"""Digests that one report can say failed: images and config."""


class Phase(str, Enum):
    """Where a board stands, in its own words."""

    IDLE = "idle"  # nothing is wanted, or what is wanted runs and is confirmed
    FETCHING = "fetching"
    APPLYING = "applying"
    ACTIVATING = "activating"  # everything is verified; the reboot into the new slot is asked for
    CONFIRMING = "confirming"  # booted from the new slot, not yet healthy
    WAITING = "waiting"  # stopped by something that time may heal; `error` says what
    FAILED = "failed"  # stopped by something that needs another desired state; `error` says what


class ConfigPhase(str, Enum):
    """Where a board stands with its config, in its own words."""

    IDLE = "idle"  # nothing is wanted, or what is wanted is in force and has proved itself
    WAITING = "waiting"  # for firmware that it requires, or for something that time may heal; `error` says what
    FETCHING = "fetching"
    APPLYING = "applying"  # the tree is built, checked and switched to
    PROBING = "probing"  # in force, not yet proved
    FAILED = "failed"  # stopped by something that needs another desired state; `error` says what


@dataclass(frozen=True, slots=True)
class Source:
    """How a board gets an image: a blob on the broker, `length` bytes.

    kind "delta": the blob turns the image `base` into the wanted one; "full": it is the wanted image, xz-compressed.
    `url`: where the same blob lies for HTTP Range requests when the broker has not got it; "" for nowhere.
    """

    kind: Literal["delta", "full"]
    blob: BlobId
    length: int
    base: Digest | None = None
    url: str = ""

    def to_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = {"kind": self.kind, "blob": self.blob, "length": self.length}
        if self.base:
            value["base"] = self.base
        if self.url:
            value["url"] = self.url
        return value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Source:
        kind = fields.text(value, "kind")
        if kind not in ("delta", "full"):
            raise MalformedMessageError(f"field 'kind': found {kind!r}, expected 'delta' or 'full'")
        base = parse_digest(value["base"]) if "base" in value else None
        if (kind == "delta") != (base is not None):
            raise MalformedMessageError("field 'base': a delta names the digest of its base, a full image has none")
        return Source(
            cast(Literal["delta", "full"], kind),
            parse_blob(value.get("blob")),
            fields.integer(value, "length"),
            base,
            fields.text(value, "url", default=""),
        )


@dataclass(frozen=True, slots=True)
class Target:
    """One component of the wanted release: the image's version, length in bytes and SHA-256.

    `source` is None where the server knows that the booted slot holds the image already.
    """

    component: str
    version: str
    length: int
    sha256: Digest
    source: Source | None = None

    def to_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "component": self.component,
            "version": self.version,
            "length": self.length,
            "sha256": self.sha256,
        }
        if self.source:
            value["source"] = self.source.to_dict()
        return value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Target:
        return Target(
            fields.text(value, "component", 32),
            fields.text(value, "version", 64),
            fields.integer(value, "length"),
            parse_digest(value.get("sha256")),
            Source.from_dict(fields.mapping(value, "source")) if "source" in value else None,
        )


@dataclass(frozen=True, slots=True)
class ConfigTarget:
    """The wanted config: the SHA-256 and length (bytes) of its bundle, and the firmware that it `requires`
    (`wire.versions`, "" for any).

    `source` is None where the server knows that the board has it in force; its blob lies below the board's own root,
    and the base of a delta is the bundle that is in force.
    """

    sha256: Digest
    length: int
    requires: str = ""
    source: Source | None = None

    def to_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = {"sha256": self.sha256, "length": self.length}
        if self.requires:
            value["requires"] = self.requires
        if self.source:
            value["source"] = self.source.to_dict()
        return value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ConfigTarget:
        requires = fields.text(value, "requires", versions.LIMIT, "")
        if requires:
            versions.parse(requires)
        length = fields.integer(value, "length")
        if length > BUNDLE_LIMIT:
            raise MalformedMessageError(f"field 'length': a bundle of {length} bytes, at most {BUNDLE_LIMIT}")
        source = Source.from_dict(fields.mapping(value, "source")) if "source" in value else None
        return ConfigTarget(parse_digest(value.get("sha256")), length, requires, source)


@dataclass(frozen=True, slots=True)
class Manners:
    """How a board shall behave on its link. 0 is no limit, or not at all.

    `budget`: bytes a calendar month, both ways, all overhead included. `check_in`: seconds between two connections of
    a board that does not stay connected. `rate`: bytes a second that updates may take; `share`: percent of the link
    that they may take. `defer`: seconds for which inhibitors may put an update off.
    """

    budget: int = 0
    check_in: int = 0
    rate: int = 0
    share: int = 100
    defer: int = 0

    def to_dict(self) -> dict[str, int]:
        """Only what is not as usual: it travels with every desired state."""
        usual = Manners()
        return {n: getattr(self, n) for n in Manners.__slots__ if getattr(self, n) != getattr(usual, n)}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Manners:
        usual = Manners()
        manners = Manners(**{n: fields.integer(value, n, getattr(usual, n)) for n in Manners.__slots__})
        if not 1 <= manners.share <= 100:
            raise MalformedMessageError(f"field 'share': found {manners.share}, expected 1 to 100 (percent)")
        return manners


@dataclass(frozen=True, slots=True)
class Desired:
    """What one board shall run.

    `version` grows with every message to this board. `revision` is the git commit, `rollout` the id of the change that
    the board takes part in. Without `config` the board's config is left as it is. A `hold` (the reason, as text) has
    neither targets nor config: stay as you are, stop between pieces. `retry` grows when an operator lifts the board's
    quarantine.
    """

    device: DeviceId
    version: int
    revision: str
    rollout: str
    release: str
    targets: tuple[Target, ...] = ()
    hold: str = ""
    retry: int = 0
    config: ConfigTarget | None = None
    manners: Manners = field(default_factory=Manners)

    def to_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "device": self.device,
            "version": self.version,
            "revision": self.revision,
            "rollout": self.rollout,
            "release": self.release,
            "targets": [target.to_dict() for target in self.targets],
            "hold": self.hold,
            "retry": self.retry,
        }
        if self.config:
            value["config"] = self.config.to_dict()
        if manners := self.manners.to_dict():
            value["manners"] = manners
        return value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Desired:
        targets = tuple(Target.from_dict(_object(t)) for t in fields.array(value, "targets", COMPONENT_LIMIT))
        if len({t.component for t in targets}) != len(targets):
            raise MalformedMessageError("field 'targets': a component stands twice")
        hold = fields.text(value, "hold", default="")
        config = ConfigTarget.from_dict(fields.mapping(value, "config")) if "config" in value else None
        if bool(hold) == bool(targets or config):
            raise MalformedMessageError(
                "field 'targets': a desired state has targets and config, one of them, or a hold, and nothing else"
            )
        return Desired(
            parse_device(fields.text(value, "device")),
            fields.integer(value, "version"),
            fields.text(value, "revision", 64),
            fields.text(value, "rollout", 64),
            fields.text(value, "release", 64),
            targets,
            hold,
            fields.integer(value, "retry", 0),
            config,
            Manners.from_dict(fields.mapping(value, "manners")),
        )


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """A named error as it travels: `name` is the class name in `wire.errors` without "Error"."""

    name: str
    detail: str = ""

    @staticmethod
    def of(error: EdgesyncError) -> ErrorReport:
        return ErrorReport(error.name, fields.storable(str(error))[:DETAIL_LIMIT])

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "detail": self.detail}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ErrorReport:
        return ErrorReport(fields.text(value, "name", 64), fields.text(value, "detail", DETAIL_LIMIT, ""))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one rollout by purpose. Payload counts MQTT payloads; `tcp_*` is what the kernel carried (TLS included,
    IP and TCP headers not), summed over connections.
    """

    blob: int = 0  # blocks that were kept
    refetched: int = 0  # blocks that arrived again, or for nothing
    metadata: int = 0  # desired, index, leaves
    reported: int = 0
    tcp_in: int = 0
    tcp_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Traffic.__slots__}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Traffic:
        return Traffic(**{name: fields.integer(value, name, 0) for name in Traffic.__slots__})


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """A board's config as it is in force: the digest of the bundle whose files were read back from the tree, "" for
    none; where it stands; files that someone changed by hand and that were left so (`drift`).
    """

    sha256: Digest | Literal[""] = ""
    phase: ConfigPhase = ConfigPhase.IDLE
    error: ErrorReport | None = None
    drift: int = 0

    def to_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = {"phase": self.phase.value}
        if self.sha256:
            value["sha256"] = self.sha256
        if self.error:
            value["error"] = self.error.to_dict()
        if self.drift:
            value["drift"] = self.drift
        return value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ConfigReport:
        return ConfigReport(
            parse_digest(value["sha256"]) if "sha256" in value else "",
            _phase(ConfigPhase, value),
            ErrorReport.from_dict(fields.mapping(value, "error")) if "error" in value else None,
            fields.integer(value, "drift", 0),
        )


@dataclass(frozen=True, slots=True)
class Reported:
    """What one board says of itself, with the evidence.

    `counter` grows with every report and survives reboots. `boot_id` names the boot, `slot` the booted slot, `images`
    the SHA-256 of each component as read from that slot, `confirmed` whether this slot has proved itself healthy.
    `version` and `rollout` are those of the desired state that it acts on; `done` and `total` count the blob bytes
    of that desired state. `missing` lists blobs that the broker did not give. `quarantine` lists digests that
    failed here, of images and of config. `plain`: its Python has no numpy, so that deltas take long; most boards have
    it and say nothing. `config` is None on a board that was never sent any. `month` counts the bytes of the calendar
    month, both ways, all overhead included. `mixing`: it has the context-mixing coder of deltas.
    """

    device: DeviceId
    counter: int
    boot_id: str
    slot: str
    confirmed: bool
    images: Mapping[str, Digest]
    phase: Phase
    version: int = 0
    rollout: str = ""
    done: int = 0
    total: int = 0
    error: ErrorReport | None = None
    missing: tuple[BlobId, ...] = ()
    quarantine: tuple[Digest, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    agent: str = ""
    time: int = 0
    plain: bool = False
    config: ConfigReport | None = None
    month: int = 0
    mixing: bool = False

    def to_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "device": self.device,
            "counter": self.counter,
            "boot_id": self.boot_id,
            "slot": self.slot,
            "confirmed": self.confirmed,
            "images": dict(self.images),
            "phase": self.phase.value,
            "version": self.version,
            "rollout": self.rollout,
            "done": self.done,
            "total": self.total,
            "traffic": self.traffic.to_dict(),
            "agent": self.agent,
            "time": self.time,
        }
        if self.error:
            value["error"] = self.error.to_dict()
        if self.missing:
            value["missing"] = list(self.missing)
        if self.quarantine:
            value["quarantine"] = list(self.quarantine)
        if self.plain:
            value["plain"] = True
        if self.config:
            value["config"] = self.config.to_dict()
        if self.month:
            value["month"] = self.month
        if self.mixing:
            value["mixing"] = True
        return value

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Reported:
        images = fields.mapping(value, "images", COMPONENT_LIMIT)
        return Reported(
            parse_device(fields.text(value, "device")),
            fields.integer(value, "counter"),
            fields.text(value, "boot_id", 64),
            fields.text(value, "slot", 16),
            value.get("confirmed") is True,
            {str(k)[:32]: parse_digest(v) for k, v in images.items()},
            _phase(Phase, value),
            fields.integer(value, "version", 0),
            fields.text(value, "rollout", 64, ""),
            fields.integer(value, "done", 0),
            fields.integer(value, "total", 0),
            ErrorReport.from_dict(fields.mapping(value, "error")) if "error" in value else None,
            tuple(parse_blob(b) for b in fields.array(value, "missing", COMPONENT_LIMIT)),
            tuple(parse_digest(d) for d in fields.array(value, "quarantine", FAILED_LIMIT)),
            Traffic.from_dict(fields.mapping(value, "traffic")),
            fields.text(value, "agent", 32, ""),
            fields.integer(value, "time", 0),
            value.get("plain") is True,
            ConfigReport.from_dict(fields.mapping(value, "config")) if "config" in value else None,
            fields.integer(value, "month", 0),
            value.get("mixing") is True,
        )


_P = TypeVar("_P", Phase, ConfigPhase)


def _phase(kind: type[_P], value: Mapping[str, Any]) -> _P:
    found, known = fields.text(value, "phase", 20), [phase.value for phase in kind]
    if found not in known:
        raise MalformedMessageError(f"field 'phase': found {found!r}, expected one of {known}")
    return kind(found)


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessageError(f"found a {type(value).__name__}, expected an object")
    return value
