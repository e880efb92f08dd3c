"""Topics of one fleet: building them, and reading what a message is from its topic.

es1/<fleet>/d/<device>/desired     QoS 1, retained   server > board   signed
es1/<fleet>/d/<device>/reported    QoS 1, retained   board > server   signed
es1/<fleet>/d/<device>/up          QoS 1, retained   board's last will: presence only, never evidence
es1/<fleet>/d/<device>/t           QoS 1             board > server   telemetry
<root>/<blob>/index                retained          server > boards  sizes and the hashes of the leaves
<root>/<blob>/index/<leaf>         retained          a hash for each piece
<root>/<blob>/<piece>/<block>      retained          the bytes

<root> is es1/<fleet>/b for firmware, which every board may read, and es1/<fleet>/d/<device>/c for one board's config.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.ids import BlobId, DeviceId, is_label, parse_blob, parse_device

PREFIX = "es1"
TOPIC_LIMIT = 200
_NUMBER_LIMIT = 10  # digits: no piece number is longer, and int() of a long text costs time

Kind = Literal["desired", "reported", "up", "telemetry", "index", "leaf", "block"]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic says: `device` is set for board topics; `blob`, `piece` (or leaf number), `block` for blobs. The
    blobs of a board's config have both.
    """

    fleet: str
    kind: Kind
    device: DeviceId | None = None
    blob: BlobId | None = None
    piece: int = 0
    block: int = 0


def desired(fleet: str, device: DeviceId) -> str:
    return f"{PREFIX}/{fleet}/d/{device}/desired"


def reported(fleet: str, device: DeviceId) -> str:
    return f"{PREFIX}/{fleet}/d/{device}/reported"


def up(fleet: str, device: DeviceId) -> str:
    return f"{PREFIX}/{fleet}/d/{device}/up"


def telemetry(fleet: str, device: DeviceId) -> str:
    """What a board tells of its health. One letter: it is paid for every minute."""
    return f"{PREFIX}/{fleet}/d/{device}/t"


def all_telemetry(fleet: str) -> str:
    """A collector's filter for what all boards tell."""
    return f"{PREFIX}/{fleet}/d/+/t"


def all_boards(fleet: str, kind: Literal["desired", "reported", "up"]) -> str:
    """The server's filter for one kind of board topic."""
    return f"{PREFIX}/{fleet}/d/+/{kind}"


def firmware(fleet: str) -> str:
    """The root of the blobs that every board may read."""
    return f"{PREFIX}/{fleet}/b"


def config(fleet: str, device: DeviceId) -> str:
    """The root of the blobs of one board's config."""
    return f"{PREFIX}/{fleet}/d/{device}/c"


def all_indexes(fleet: str) -> tuple[str, str]:
    """The server's filters for the audit: the index of every blob that the broker holds, firmware and config."""
    return f"{PREFIX}/{fleet}/b/+/index", f"{PREFIX}/{fleet}/d/+/c/+/index"


def index(root: str, blob: BlobId) -> str:
    return f"{root}/{blob}/index"


def leaf(root: str, blob: BlobId, number: int) -> str:
    return f"{root}/{blob}/index/{number}"


def kick(root: str, blob: BlobId) -> str:
    """A topic of a blob on which nothing is ever published: subscribing to it moves a stalled broker on."""
    return f"{root}/{blob}/kick"


def piece(root: str, blob: BlobId, number: int) -> str:
    """The filter for all blocks of a piece."""
    return f"{root}/{blob}/{number}/+"


def block(root: str, blob: BlobId, piece_number: int, number: int) -> str:
    return f"{root}/{blob}/{piece_number}/{number}"


def parse(topic: str) -> Topic:
    """The inverse of the functions above. Raises MalformedMessageError for a topic that none of them gives."""
    if len(topic) > TOPIC_LIMIT:
        raise MalformedMessageError(f"topic of {len(topic)} characters, at most {TOPIC_LIMIT} expected")
    prefix, _, rest = topic.partition("/")
    fleet, *parts = rest.split("/")
    if prefix == PREFIX and is_label(fleet):
        match parts:
            case ["d", device, ("desired" | "reported" | "up") as kind] if device.startswith(f"{fleet}."):
                return Topic(fleet, kind, device=parse_device(device))
            case ["d", device, "t"] if device.startswith(f"{fleet}."):
                return Topic(fleet, "telemetry", parse_device(device))
            case ["d", device, "c", *place] if device.startswith(f"{fleet}."):
                return _of_blob(topic, fleet, place, parse_device(device))
            case ["b", *place]:
                return _of_blob(topic, fleet, place, None)
    raise MalformedMessageError(f"unknown topic {topic!r}")


def _of_blob(topic: str, fleet: str, place: list[str], device: DeviceId | None) -> Topic:
    match place:
        case [blob, "index"]:
            return Topic(fleet, "index", device, parse_blob(blob))
        case [blob, "index", number]:
            return Topic(fleet, "leaf", device, parse_blob(blob), piece=_number(number))
        case [blob, first, second]:
            return Topic(fleet, "block", device, parse_blob(blob), _number(first), _number(second))
    raise MalformedMessageError(f"unknown topic {topic!r}")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_LIMIT or (text[0] == "0" and text != "0"):
        raise MalformedMessageError(f"not a number in a topic: {text[:40]!r}")
    return int(text)
