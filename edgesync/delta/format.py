"""The container of a delta, "esd3": its headers. What the streams behind them hold is in `chapter` and `segment`, how
they are packed in `streams`.

    delta    =  header, then chapters, until their segments make the result
    chapter  =  header, then the streams copies, types, records, names, strings, pieces, regions, corrections, as far
                as it has them, then its loud segments
    segment  =  header, then the streams gaps, values, extra (form WORDS) or differences, extra (form BYTES)

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
"""Bytes of one gap: a segment has 2**18 words."""
CHECK = 8
"""Bytes of SHA-256 in a segment's header. They tell a segment that is there already from one that is not; what the
image is, its own hash says."""

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

MAGIC = b"esd3"
HEADER_LIMIT = len(MAGIC) + 2 * (HASH + NUMBER_LIMIT)
PART_LIMIT = 21 * NUMBER_LIMIT
"""Bytes of the longest header of a delta, and of a chapter or segment."""


@dataclass(frozen=True, slots=True)
class Header:
    """Both images of a delta: lengths in bytes, and the first 16 bytes of SHA-256 as hex digits."""

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
        return MAGIC + hashes + leb128.encode((self.base_length, self.result_length))


@dataclass(frozen=True, slots=True)
class Counts:
    """How many segments a chapter has, how many of them are in the delta (the others are plain copies), and how many
    rows are in its tables. `derived` is the length in bytes of the type information that it derives, `types_at` and
    `types_length` say where in the base that is which it is derived from.
    """

    segments: int
    loud: int
    copies: int
    derived: int = 0
    files: int = 0
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
            "copies": self.copies * 3 * NUMBER_LIMIT,
            "types": self.type_runs * 3 * NUMBER_LIMIT,
            "records": self.derived,
            "names": self.name_runs * 3 * NUMBER_LIMIT,
            "strings": self.derived,
            "pieces": pieces * ADDRESS_LIMIT,
            "regions": self.regions * 4 * ADDRESS_LIMIT,
            "corrections": self.corrections * 2 * ADDRESS_LIMIT,
        }


_ALWAYS = ("segments", "loud", "copies", "derived", "files")
_TYPES = ("types_at", "types_length", "type_runs", "name_runs")
_TABLES = ("base_pieces", "result_pieces", "regions", "corrections")
"""Fields of each chapter, of one that derives something, and of one with files."""
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
    """Segment `number`: the start of the hash of its output, and how many of its words are corrected; None if its
    bytes are.
    """

    part: Part
    number: int
    check: bytes
    words: int | None


def parse_header(data: bytes) -> tuple[Header, int]:
    """The header and its length, from the first HEADER_LIMIT bytes of a delta (or all).

    Raises UnknownFormatError for another version, DeltaCorruptError for anything broken.
    """
    if len(data) < len(MAGIC) or data[:3] != MAGIC[:3]:
        raise DeltaCorruptError(f"delta, header: found {data[:4]!r}, expected {MAGIC!r}")
    if data[:4] != MAGIC:
        raise UnknownFormatError(f"delta, header: found {data[:4]!r}, expected {MAGIC!r}")
    head = _Head("header", data, len(MAGIC))
    base, result = head.take("hash of the base", HASH), head.take("hash of the result", HASH)
    base_length, result_length = (
        head.number(field, LENGTH_LIMIT) for field in ("length of the base", "length of the result")
    )
    return Header(base_length, base.hex(), result_length, result.hex()), head.at


def parse_chapter_header(number: int, data: bytes, segments: int) -> tuple[ChapterHeader, int]:
    """The header of chapter `number`, for which `segments` are left, and its length, from PART_LIMIT bytes (or all
    that are left). Raises DeltaCorruptError past any limit.
    """
    name = f"chapter {number}"
    head = _Head(name, data)
    rows = {field: head.number(field, getattr(_MOST, field)) for field in _ALWAYS}
    for there, others in (("derived", _TYPES), ("files", _TABLES)):
        if rows[there]:
            rows |= {field: head.number(field, getattr(_MOST, field)) for field in others}
    counts = Counts(**rows)
    if not 1 <= counts.segments <= segments:
        raise corrupt(name, "segments", f"found {counts.segments}, expected 1 to {segments}")
    if counts.loud > counts.segments:
        raise corrupt(name, "loud", f"found {counts.loud} of {counts.segments} segments")
    limits = counts.limits()
    packed = {stream: head.packed(stream, limits[stream]) for stream in _chapter_streams(counts)}
    return ChapterHeader(Part(name, packed), counts), head.at


def parse_segment_header(first: int, data: bytes, header: Header, quiet: int) -> tuple[SegmentHeader, int]:
    """The header of the next loud segment and its length; segment `first` and at most `quiet` others may come before
    it. From PART_LIMIT bytes, or all that are left. Raises DeltaCorruptError past any limit.
    """
    head = _Head(f"segment {first}", data)
    number = first + head.number("quiet", quiet)
    head.name = name = f"segment {number}"
    output = header.output_length(number)
    form = head.number("words", -(-output // WORD) + 1)
    alone = header.segments == 1
    check = bytes.fromhex(header.result_hash)[:CHECK] if alone else head.take("check", CHECK)
    limits = {"differences": output, "extra": output}
    if form:
        limits = {"gaps": (form - 1) * GAP_LIMIT, "values": (form - 1) * WORD, "extra": output}
    packed = {stream: head.packed(stream, limit) for stream, limit in limits.items() if limit}
    return SegmentHeader(Part(name, packed), number, check, form - 1 if form else None), head.at


def encode_chapter(counts: Counts, packed: Mapping[str, bytes], segments: Sequence[bytes]) -> bytes:
    """A chapter with its segments, of which the quiet ones are empty. `packed` has the streams of the tables;
    `counts.segments` and `counts.loud` are counted anew.
    """
    loud = sum(map(bool, segments))
    names = (*_ALWAYS, *(_TYPES if counts.derived else ()), *(_TABLES if counts.files else ()))
    rows = {name: getattr(counts, name) for name in names} | {"segments": len(segments), "loud": loud}
    streams = [packed[name] for name in _chapter_streams(counts)]
    out = [leb128.encode([*rows.values(), *map(len, streams)]), *streams]
    quiet = 0
    for segment in segments:
        if segment:
            out += [leb128.encode([quiet]), segment]
        quiet = 0 if segment else quiet + 1
    return b"".join(out)


def encode_segment(words: int | None, check: bytes, packed: Sequence[bytes]) -> bytes:
    """A loud segment without the number of quiet ones before it, from its packed streams. `words` is the number of
    corrected words, None for the form BYTES; `check` is empty if the segment is the whole result.
    """
    form = 0 if words is None else words + 1
    sent = packed[2:] if form == 1 else packed  # without corrected words there are neither gaps nor values
    return leb128.encode([form]) + check + leb128.encode(map(len, sent)) + b"".join(sent)


def _chapter_streams(counts: Counts) -> tuple[str, ...]:
    types = ("types", "records", "names", "strings") if counts.derived else ()
    return ("copies", *types, *(("pieces", "regions", "corrections") if counts.files else ()))


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
