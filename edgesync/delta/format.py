"""The container of a delta, "esd2": its headers, and the xz streams behind each of them.

    delta    =  header (96 bytes), then chapters, until their segments make the result
    chapter  =  header (48 bytes), then the streams copies, pieces, regions, corrections, then its segments
    segment  =  header (36 bytes), then the streams gaps, values, extra

docs/delta-format.md says every byte. Pure, and standard library only: what the streams mean is in `chapter` and
`segment`. Every length is checked against a limit before anything of that length is read or allocated.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from edgesync.wire.errors import DeltaCorruptError, UnknownFormatError
from edgesync.wire.ids import Digest

SEGMENT = 1 << 20
"""Bytes of output that one segment makes. A segment needs its chapter and no other segment, so a board holds one in
memory, and starts again at the one that was cut off."""
LENGTH_LIMIT = 1 << 36
"""Bytes of an image (64 GiB): larger than a board's storage, small enough that no sum below can overflow."""
WORD = 4
VARINT_LIMIT = 6
"""Bytes of one number about a copy: 42 bits, enough for a signed step inside LENGTH_LIMIT."""
ADDRESS_LIMIT = 9
"""Bytes of one number about an address: 63 bits."""
GAP_LIMIT = 3
"""Bytes of one gap: a segment has 2**18 words."""
DIGEST = 16
"""Bytes of a segment's truncated SHA-256."""
DICTIONARY = 1 << 20
"""Bytes of xz dictionary in a decoder: a stream is never much longer than one segment."""

COPIES_LIMIT = 1 << 16
PIECES_LIMIT = 1 << 14
REGIONS_LIMIT = 1 << 15
CORRECTIONS_LIMIT = 1 << 16
"""Rows in the tables of one chapter, which a board has in memory: 7 MiB if all are full."""

CHAPTER_STREAMS = ("copies", "pieces", "regions", "corrections")
SEGMENT_STREAMS = ("gaps", "values", "extra")
# lc, lp, pb that an encoder tries: of numbers, of 32-bit words, of anything.
_NUMBERS = ((3, 0, 0), (1, 0, 0))
_CONTEXTS = {"values": ((1, 2, 2), (0, 2, 2)), "extra": ((3, 0, 2), (3, 0, 0), (2, 2, 2))}

_MAGIC = b"esd2"
_HEADER = struct.Struct("<4sIQ32sQ32sII")
_CRC = struct.Struct("<I")
_CHAPTER = struct.Struct("<7I4I")
_SEGMENT = struct.Struct("<16sI3I")
HEADER_SIZE = _HEADER.size
CHAPTER_HEADER_SIZE = _CRC.size + _CHAPTER.size
SEGMENT_HEADER_SIZE = _CRC.size + _SEGMENT.size


@dataclass(frozen=True, slots=True)
class Header:
    """Both images of a delta: lengths in bytes and SHA-256."""

    base_length: int
    base_sha256: Digest
    result_length: int
    result_sha256: Digest

    @property
    def segments(self) -> int:
        return -(-self.result_length // SEGMENT)

    def output_length(self, number: int) -> int:
        """Bytes that segment `number` makes: all are equal but the last."""
        return min(SEGMENT, self.result_length - number * SEGMENT)

    def encode(self) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            0,
            self.base_length,
            bytes.fromhex(self.base_sha256),
            self.result_length,
            bytes.fromhex(self.result_sha256),
            SEGMENT,
            self.segments,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How many segments a chapter has, and how many rows are in its tables."""

    segments: int
    copies: int
    files: int
    base_pieces: int
    result_pieces: int
    regions: int
    corrections: int

    def limits(self) -> tuple[int, ...]:
        """Most bytes that each stream may unpack to, in the order of CHAPTER_STREAMS."""
        pieces = 3 * (self.base_pieces + self.result_pieces) + self.files
        return (
            self.copies * 3 * VARINT_LIMIT,
            pieces * ADDRESS_LIMIT,
            self.regions * 4 * ADDRESS_LIMIT,
            self.corrections * 2 * ADDRESS_LIMIT,
        )


_MOST = Counts(
    LENGTH_LIMIT // SEGMENT, COPIES_LIMIT, PIECES_LIMIT, PIECES_LIMIT, PIECES_LIMIT, REGIONS_LIMIT, CORRECTIONS_LIMIT
)


@dataclass(frozen=True, slots=True)
class Part:
    """What a chapter and a segment have in common: the bytes of each compressed stream, and the CRC-32 of the rest of
    the header and of the streams. It keeps most damaged input away from the decoders; hashes prove the output.
    """

    name: str
    crc: int
    plain: bytes
    streams: tuple[str, ...]
    packed: tuple[int, ...]

    @property
    def body_length(self) -> int:
        return sum(self.packed)

    def check(self, body: bytes) -> None:
        """Raises DeltaCorruptError when `body` is not what this header was written with."""
        if _crc(self.plain, body) != self.crc:
            raise self.corrupt("crc", "header and streams do not have it; fetch the delta again")

    def unpack(self, body: bytes, stream: str, limit: int) -> bytes:
        """One stream of the body, unpacked to at most `limit` bytes. Raises DeltaCorruptError."""
        index = self.streams.index(stream)
        at = sum(self.packed[:index])
        return unpack_stream(self.name, stream, memoryview(body)[at : at + self.packed[index]], limit)

    def corrupt(self, stream: str, text: str) -> DeltaCorruptError:
        return corrupt(self.name, stream, text)


@dataclass(frozen=True, slots=True)
class ChapterHeader:
    part: Part
    counts: Counts


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """One segment: the hash of its output, and how many of its words are corrected."""

    part: Part
    digest: bytes
    words: int


def corrupt(name: str, field: str, text: str) -> DeltaCorruptError:
    """The error for one field of one chapter or segment."""
    return DeltaCorruptError(f"delta, {name}, {field}: {text}")


def parse_header(data: bytes) -> Header:
    """Raises UnknownFormatError for another version or unknown flags, DeltaCorruptError for anything broken."""
    if len(data) < HEADER_SIZE or data[:3] != _MAGIC[:3]:
        raise DeltaCorruptError(f"delta, header: found {data[:4]!r} in {len(data)} bytes, expected {_MAGIC!r}")
    magic, flags, base_length, base, result_length, result, segment, count = _HEADER.unpack_from(data)
    if magic != _MAGIC or flags:
        raise UnknownFormatError(f"delta, header: found {magic!r} with flags {flags:#x}, expected {_MAGIC!r} with none")
    header = Header(base_length, Digest(base.hex()), result_length, Digest(result.hex()))
    if max(base_length, result_length) > LENGTH_LIMIT:
        raise DeltaCorruptError(f"delta, header: images of {base_length} and {result_length}, at most {LENGTH_LIMIT}")
    if segment != SEGMENT or count != header.segments:
        raise DeltaCorruptError(
            f"delta, header: {count} segments of {segment}, expected {header.segments} of {SEGMENT} for {result_length}"
        )
    return header


def parse_chapter_header(number: int, data: bytes, segments: int) -> ChapterHeader:
    """The header of chapter `number`, for which `segments` are left. Raises DeltaCorruptError past any limit."""
    name = f"chapter {number}"
    _check_size(name, data, CHAPTER_HEADER_SIZE)
    (crc,) = _CRC.unpack_from(data)
    numbers = _CHAPTER.unpack_from(data, _CRC.size)
    counts, packed = Counts(*numbers[:7]), numbers[7:]
    for limit, field in zip(_values(_MOST), fields(counts), strict=True):
        if (found := getattr(counts, field.name)) > limit:
            raise corrupt(name, field.name, f"found {found}, at most {limit}")
    if not 1 <= counts.segments <= segments:
        raise corrupt(name, "segments", f"found {counts.segments}, expected 1 to {segments}")
    _check_packed(name, CHAPTER_STREAMS, packed, counts.limits())
    return ChapterHeader(Part(name, crc, data[_CRC.size :], CHAPTER_STREAMS, packed), counts)


def parse_segment_header(number: int, data: bytes, output: int) -> SegmentHeader:
    """The header of segment `number`, which makes `output` bytes. Raises DeltaCorruptError past any limit."""
    name = f"segment {number}"
    _check_size(name, data, SEGMENT_HEADER_SIZE)
    (crc,) = _CRC.unpack_from(data)
    digest, words, *packed = _SEGMENT.unpack_from(data, _CRC.size)
    if words > -(-output // WORD):
        raise corrupt(name, "words", f"found {words} in {output} bytes")
    _check_packed(name, SEGMENT_STREAMS, packed, (words * GAP_LIMIT, words * WORD, output))
    return SegmentHeader(Part(name, crc, data[_CRC.size :], SEGMENT_STREAMS, tuple(packed)), digest, words)


def encode_chapter(counts: Counts, streams: Mapping[str, bytes]) -> bytes:
    """Header and streams of a chapter from its plain streams."""
    packed = [pack_stream(name, streams[name]) for name in CHAPTER_STREAMS]
    return _encode_part(_CHAPTER.pack(*_values(counts), *(len(data) for data in packed)), packed)


def encode_segment(digest: bytes, words: int, streams: Mapping[str, bytes]) -> bytes:
    """One whole segment from its plain streams."""
    packed = [pack_stream(name, streams[name]) for name in SEGMENT_STREAMS]
    return _encode_part(_SEGMENT.pack(digest, words, *(len(data) for data in packed)), packed)


def pack_stream(name: str, data: bytes) -> bytes:
    """Compress one stream as small as the settings for it allow; an empty one stays empty.

    The first byte says with which settings, as in an .lzma file: (pb * 5 + lp) * 9 + lc.
    """
    if not data:
        return b""
    packed = (
        bytes([(pb * 5 + lp) * 9 + lc]) + lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(lc, lp, pb))
        for lc, lp, pb in _CONTEXTS.get(name, _NUMBERS)
    )
    return min(packed, key=len)


def unpack_stream(part: str, name: str, packed: bytes | memoryview, limit: int) -> bytes:
    """Decompress one stream to at most `limit` bytes. Raises DeltaCorruptError for more, broken or trailing bytes."""
    if not packed:
        return b""
    rest, lc = divmod(packed[0], 9)
    pb, lp = divmod(rest, 5)
    if pb > 4 or lc + lp > 4:
        raise corrupt(part, name, f"settings {packed[0]:#x} are lc={lc}, lp={lp}, pb={pb}: no xz stream has them")
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_filters(lc, lp, pb))
    try:
        data = decoder.decompress(packed[1:], max_length=limit + 1)
    except lzma.LZMAError as error:
        raise corrupt(part, name, f"does not unpack: {error}") from error
    if len(data) > limit:
        raise corrupt(part, name, f"unpacks to more than {limit} bytes")
    if not decoder.eof or decoder.unused_data:
        raise corrupt(part, name, "is cut off or has bytes behind its end")
    return data


def _encode_part(plain: bytes, packed: Sequence[bytes]) -> bytes:
    body = b"".join(packed)
    return _CRC.pack(_crc(plain, body)) + plain + body


def _check_size(name: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise corrupt(name, "header", f"found {len(data)} bytes, expected {size}; the delta is cut off")


def _check_packed(name: str, streams: Sequence[str], packed: Sequence[int], limits: Sequence[int]) -> None:
    for stream, size, limit in zip(streams, packed, limits, strict=True):
        if size > packed_limit(limit):
            raise corrupt(name, stream, f"found {size} bytes, at most {packed_limit(limit)} for {limit} unpacked")


def _values(counts: Counts) -> tuple[int, ...]:
    return tuple(getattr(counts, field.name) for field in fields(counts))


def _filters(lc: int, lp: int, pb: int) -> list[dict[str, Any]]:
    preset = 9 | lzma.PRESET_EXTREME
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "lc": lc, "lp": lp, "pb": pb, "dict_size": DICTIONARY}]


def packed_limit(plain: int) -> int:
    """Bytes that a stream needs at worst: xz stores what it cannot compress, in chunks with a header of three."""
    return plain + plain // 1024 + 64 if plain else 0


def _crc(plain: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(plain))
