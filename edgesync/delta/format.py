"""The container of a delta, "esd4": its headers. What the streams behind them hold is in `chapter` and `segment`, how
they are packed in `streams`.

    delta    =  header, then chapters, until their segments make the result
    chapter  =  header, then the streams copies, pieces, regions, corrections, types, records, names, strings, as far
                as it has them, then its loud segments
    segment  =  header, then the streams gaps, values, extra (form WORDS); differences, extra (form BYTES); gaps,
                changes, extra (form SPARSE); or mixed alone (form MIXED)

docs/delta-format.md says every byte. Pure, and standard library only. Every length is checked against a limit before
anything of that length is read or allocated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesync.delta import leb128
from edgesync.delta.streams import corrupt, packed_limit, unpack
from edgesync.wire.blob import HASH
from edgesync.wire.errors import DeltaCorruptError, UnknownFormatError
from edgesync.wire.ids import Digest

SEGMENT = 1 << 20
"""Bytes of output that one segment makes. A segment needs its chapter and no other segment, so a board holds one in
memory, and starts again at the one that was cut off."""
LENGTH_LIMIT = 1 << 36
"""Bytes of an image (64 GiB): larger than a board's storage, small enough that no sum below can overflow."""
WORD = 4
NUMBER_LIMIT = 6
"""Bytes of one number in a header, or about a copy: 42 bits, enough for a signed step inside LENGTH_LIMIT."""
ADDRESS_LIMIT = 9
"""Bytes of one number about an address: 63 bits."""
GAP_LIMIT = 3
"""Bytes of one gap: a segment has 2**20 bytes."""
CHECK = 6
"""Bytes of SHA-256 in a segment's header. They tell a segment that is there already from one that is not; what the
image is, its own hash says."""
BASE_HASH = 8
"""Bytes of SHA-256 of the base: they refuse another base early. That a result is right, its own hash says."""

COPIES_LIMIT = 1 << 16
PIECES_LIMIT = 1 << 14
REGIONS_LIMIT = 1 << 15
CORRECTIONS_LIMIT = 1 << 16
RUNS_LIMIT = 1 << 16
"""Rows in the tables of one chapter, which a board has in memory: 7 MiB if all are full."""

DERIVED_LIMIT = 1 << 23
"""Bytes of type information that a chapter derives, from as many of the base at most: a kernel has 4 to 6 MB."""
DERIVED_ALIGNMENT = 8
"""The derived bytes lie behind the base, from a multiple of this on, so that their words are words."""

BYTES, SPARSE, MIXED, WORDS = range(4)
"""The form of a segment; WORDS is the least of many, one for each number of corrected words."""

MAGIC = b"esd4"
HEADER_LIMIT = len(MAGIC) + BASE_HASH + HASH + 2 * NUMBER_LIMIT
PART_LIMIT = 21 * NUMBER_LIMIT
"""Bytes of the longest header of a delta, and of a chapter or segment."""


@dataclass(frozen=True, slots=True)
class Header:
    """Both images of a delta: lengths in bytes, and the first BASE_HASH and HASH bytes of SHA-256 as hex digits."""

    base_length: int
    base_hash: str
    result_length: int
    result_hash: str

    @property
    def segments(self) -> int:
        return -(-self.result_length // SEGMENT)

    def output_length(self, number: int) -> int:
        """Bytes that segment `number` makes: all are equal but the last."""
        return min(SEGMENT, self.result_length - number * SEGMENT)

    def encode(self) -> bytes:
        hashes = bytes.fromhex(self.base_hash) + bytes.fromhex(self.result_hash)
        lengths = self.base_length, leb128.fold(self.result_length - self.base_length)
        return MAGIC + hashes + leb128.encode(lengths)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many segments a chapter has, how many of them are in the delta (the others are plain copies), and how many
    rows are in its tables. Instead of copies (None) it may have one, from the same place of the base. `derived` is the
    length in bytes of the type information that it derives, `types_at` and `types_length` say where in the base that is
    which it is derived from.
    """

    segments: int
    loud: int
    copies: int | None
    files: int = 0
    derived: int = 0
    types_at: int = 0
    types_length: int = 0
    type_runs: int = 0
    name_runs: int = 0
    base_pieces: int = 0
    result_pieces: int = 0
    regions: int = 0
    corrections: int = 0

    def limits(self) -> dict[str, int]:
        """Most bytes that each stream may unpack to."""
        pieces = 3 * (self.base_pieces + self.result_pieces) + self.files
        return {
            "copies": (self.copies or 0) * 3 * NUMBER_LIMIT,
            "types": self.type_runs * 3 * NUMBER_LIMIT,
            "records": self.derived,
            "names": self.name_runs * 3 * NUMBER_LIMIT,
            "strings": self.derived,
            "pieces": pieces * ADDRESS_LIMIT,
            "regions": self.regions * 4 * ADDRESS_LIMIT,
            "corrections": self.corrections * 2 * ADDRESS_LIMIT,
        }


_FILES, _DERIVES = 1, 2
"""Flags beside the number of loud segments: that a chapter has tables of files, and that it derives something."""
_FIELDS = {
    _FILES: ("files", "base_pieces", "result_pieces", "regions", "corrections"),
    _DERIVES: ("derived", "types_at", "types_length", "type_runs", "name_runs"),
}
_STREAMS = {_FILES: ("pieces", "regions", "corrections"), _DERIVES: ("types", "records", "names", "strings")}
_MOST = Counts(
    segments=LENGTH_LIMIT // SEGMENT,
    loud=LENGTH_LIMIT // SEGMENT,
    copies=COPIES_LIMIT,
    derived=DERIVED_LIMIT,
    files=PIECES_LIMIT,
    types_at=LENGTH_LIMIT,
    types_length=DERIVED_LIMIT,
    type_runs=RUNS_LIMIT,
    name_runs=RUNS_LIMIT,
    base_pieces=PIECES_LIMIT,
    result_pieces=PIECES_LIMIT,
    regions=REGIONS_LIMIT,
    corrections=CORRECTIONS_LIMIT,
)


@dataclass(frozen=True, slots=True)
class Part:
    """What a chapter and a segment have in common: their name, and the bytes of each packed stream, in order."""

    name: str
    packed: Mapping[str, int]

    @property
    def body_length(self) -> int:
        return sum(self.packed.values())

    def unpack(self, body: bytes, stream: str, limit: int) -> bytes:
        """One stream of the body, unpacked to at most `limit` bytes. Raises DeltaCorruptError."""
        at = 0
        for name, size in self.packed.items():
            if name == stream:
                return unpack(self.name, stream, memoryview(body)[at : at + size], limit)
            at += size
        return b""

    def corrupt(self, stream: str, text: str) -> DeltaCorruptError:
        return corrupt(self.name, stream, text)


@dataclass(frozen=True, slots=True)
class ChapterHeader:
    part: Part
    counts: Counts


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Segment `number`: the start of the hash of its output (nothing if it is the only loud one of its chapter), and
    its form: BYTES, SPARSE, MIXED, or WORDS and how many of them are corrected.
    """

    part: Part
    number: int
    check: bytes
    form: int

    @property
    def words(self) -> int | None:
        """How many words are corrected; None in other forms."""
        return self.form - WORDS if self.form >= WORDS else None


def header_of(base_length: int, base_sha256: Digest, result_length: int, result_sha256: Digest) -> Header:
    """The header of a delta between these images."""
    return Header(base_length, base_sha256[: 2 * BASE_HASH], result_length, result_sha256[: 2 * HASH])


def parse_header(data: bytes) -> tuple[Header, int]:
    """The header and its length, from the first HEADER_LIMIT bytes of a delta (or all).

    Raises UnknownFormatError for another version, DeltaCorruptError for anything broken.
    """
    if len(data) < len(MAGIC) or data[:3] != MAGIC[:3]:
        raise DeltaCorruptError(f"delta, header: found {data[:4]!r}, expected {MAGIC!r}")
    if data[:4] != MAGIC:
        raise UnknownFormatError(f"delta, header: found {data[:4]!r}, expected {MAGIC!r}")
    head = _Head("header", data, len(MAGIC))
    base, result = head.take("hash of the base", BASE_HASH), head.take("hash of the result", HASH)
    base_length = head.number("length of the base", LENGTH_LIMIT)
    result_length = base_length + leb128.unfold(head.number("length of the result", 2 * LENGTH_LIMIT))
    if not 0 <= result_length <= LENGTH_LIMIT:
        raise corrupt("header", "length of the result", f"found {result_length}, at most {LENGTH_LIMIT}")
    return Header(base_length, base.hex(), result_length, result.hex()), head.at


def parse_chapter_header(number: int, data: bytes, segments: int) -> tuple[ChapterHeader, int]:
    """The header of chapter `number`, for which `segments` are left, and its length, from PART_LIMIT bytes (or all
    that are left). Raises DeltaCorruptError past any limit.
    """
    name = f"chapter {number}"
    head = _Head(name, data)
    count = head.number("segments", segments)
    loud, flags = divmod(head.number("loud", 4 * count + _FILES + _DERIVES), 4)
    copies = head.number("copies", COPIES_LIMIT + 1)
    rows = {
        field: head.number(field, getattr(_MOST, field))
        for flag, names in _FIELDS.items()
        for field in names
        if flags & flag
    }
    counts = Counts(count, loud, copies - 1 if copies else None, **rows)
    if not count or flags != _flags(counts):
        raise corrupt(name, "loud", f"found {loud} of {count} segments, with flags {flags}")
    limits = counts.limits()
    packed = {stream: head.packed(stream, limits[stream]) for stream in _streams(counts)}
    return ChapterHeader(Part(name, packed), counts), head.at


def parse_segment_header(
    first: int, data: bytes, header: Header, quiet: int, *, alone: bool
) -> tuple[SegmentHeader, int]:
    """The header of the next loud segment and its length; at most `quiet` segments from `first` on may come before it.
    `alone` if its chapter has no other loud one. From PART_LIMIT bytes, or all that are left. Raises DeltaCorruptError
    past any limit.
    """
    head = _Head(f"segment {first}", data)
    number = first + head.number("quiet", quiet)
    head.name = name = f"segment {number}"
    output = header.output_length(number)
    check = b"" if alone else head.take("check", CHECK)
    form = head.number("form", WORDS + -(-output // WORD))
    if form == BYTES:
        limits = {"differences": output}
    elif form == SPARSE:
        limits = {"gaps": output, "changes": output}  # a gap is never longer than the bytes that it tells of
    elif form == MIXED:
        limits = {"mixed": output}
    else:
        limits = {"gaps": (form - WORDS) * GAP_LIMIT, "values": (form - WORDS) * WORD}
    if form != MIXED:
        limits["extra"] = output
    packed = {stream: head.packed(stream, limit) for stream, limit in limits.items() if limit}
    return SegmentHeader(Part(name, packed), number, check, form), head.at


def encode_chapter(counts: Counts, packed: Mapping[str, bytes], segments: Sequence[bytes]) -> bytes:
    """A chapter with its segments, of which the quiet ones are empty. `packed` has the streams of the tables;
    `counts.segments` and `counts.loud` are counted anew.
    """
    loud, flags = sum(map(bool, segments)), _flags(counts)
    rows = [getattr(counts, field) for flag, names in _FIELDS.items() for field in names if flags & flag]
    copies = 0 if counts.copies is None else counts.copies + 1
    sent = [packed[name] for name in _streams(counts)]
    out = [leb128.encode([len(segments), 4 * loud + flags, copies, *rows, *map(len, sent)]), *sent]
    quiet = 0
    for segment in segments:
        if segment:
            out += [leb128.encode([quiet]), segment[CHECK if loud == 1 else 0 :]]
        quiet = 0 if segment else quiet + 1
    return b"".join(out)


def encode_segment(form: int, check: bytes, packed: Sequence[bytes]) -> bytes:
    """A loud segment without the number of quiet ones before it, from its packed streams."""
    sent = packed[2:] if form == WORDS else packed  # without corrected words there are neither gaps nor values
    return check + leb128.encode([form]) + leb128.encode(map(len, sent)) + b"".join(sent)


def _flags(counts: Counts) -> int:
    return (_FILES if counts.files else 0) | (_DERIVES if counts.derived else 0)


def _streams(counts: Counts) -> list[str]:
    """The streams that a chapter may have, in their order; none that could only be empty."""
    flags, limits = _flags(counts), counts.limits()
    names = ("copies", *(name for flag, some in _STREAMS.items() for name in some if flags & flag))
    return [name for name in names if limits[name]]


def derived_at(base_length: int) -> int:
    """Where the derived bytes lie, for copies."""
    return -(-base_length // DERIVED_ALIGNMENT) * DERIVED_ALIGNMENT


class _Head:
    """Reads the fields of a header one behind the other."""

    def __init__(self, name: str, data: bytes, at: int = 0) -> None:
        self.name, self._data, self.at = name, data, at

    def number(self, field: str, most: int) -> int:
        try:
            number, self.at = leb128.read(self._data, self.at, NUMBER_LIMIT)
        except leb128.VarintError as error:
            raise corrupt(self.name, field, str(error)) from error
        if number > most:
            raise corrupt(self.name, field, f"found {number}, at most {most}")
        return number

    def take(self, field: str, count: int) -> bytes:
        data = self._data[self.at : self.at + count]
        if len(data) < count:
            raise corrupt(self.name, field, f"found {len(data)} of {count} bytes; the delta is cut off")
        self.at += count
        return data

    def packed(self, stream: str, limit: int) -> int:
        """The packed bytes of a stream that unpacks to at most `limit`."""
        return self.number(stream, packed_limit(limit))
