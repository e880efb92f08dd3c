"""Names that appear in topics and messages, and their checks.

A device is `<fleet>.<board>`, at most 64 of `[a-z0-9-]` and that one dot: it is the CN of the board's certificate,
its MQTT user name and its client id, so it may hold nothing that MQTT, X.509 or a path reads as syntax.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from edgesync.wire.errors import MalformedMessageError

DeviceId = NewType("DeviceId", str)
Digest = NewType("Digest", str)
"""SHA-256 of a whole image, 64 hex digits."""
BlobId = NewType("BlobId", str)
"""First 16 bytes of the SHA-256 of a blob's index, 32 hex digits: it stands in every topic, so its length is paid
for with each block, and 128 bits are out of reach for a second preimage."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOB = re.compile(r"[0-9a-f]{32}")
DEVICE_LIMIT = 64
SERVER = "server"
"""Stands where a board's name would: the server's CN, user name and client id are `<fleet>.server`. A board of that
name would have the server's rights, so there must be none."""


COLLECTOR = "collector"
"""Stands where a board's name would, for a collector that reads what boards tell: its CN is `<fleet>.collector`."""


def is_label(text: str) -> bool:
    """True for the name of a fleet or a board: `[a-z0-9-]`, not beginning or ending with a hyphen."""
    return _LABEL.fullmatch(text) is not None


def device_id(fleet: str, board: str) -> DeviceId:
    """`<fleet>.<board>`, checked."""
    return parse_device(f"{fleet}.{board}")


def parse_device(text: str) -> DeviceId:
    """Raises MalformedMessageError for anything that is not a device."""
    fleet, dot, board = text.partition(".")
    if len(text) > DEVICE_LIMIT or not dot or not is_label(fleet) or not is_label(board):
        raise MalformedMessageError(f"not a device: {text[:80]!r}; expected <fleet>.<board> of [a-z0-9-], at most 64")
    return DeviceId(text)


def fleet_of(device: DeviceId) -> str:
    return device.partition(".")[0]


def board_of(device: DeviceId) -> str:
    return device.partition(".")[2]


def parse_digest(text: object) -> Digest:
    """Raises MalformedMessageError for anything but 64 lower-case hex digits."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise MalformedMessageError(f"not a SHA-256: {str(text)[:80]!r}; expected 64 lower-case hex digits")
    return Digest(text)


def parse_blob(text: object) -> BlobId:
    """Raises MalformedMessageError for anything but 32 lower-case hex digits."""
    if not isinstance(text, str) or not _BLOB.fullmatch(text):
        raise MalformedMessageError(f"not a blob id: {str(text)[:80]!r}; expected 32 lower-case hex digits")
    return BlobId(text)


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
