"""The container of a delta, "esd1": its header, the header of each segment, and the xz streams inside.

    delta    =  header (96 bytes), then ceil(result length / 1 MiB) segments
    segment  =  header (44 bytes), then the streams control, gaps, values, extra

docs/delta-format.md says every byte. Pure, and standard library only: what the streams mean is in `segment`. Every
length is checked against a limit before anything of that length is read or allocated.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from edgesync.wire.errors import DeltaCorruptError, UnknownFormatError
from edgesync.wire.ids import Digest

SEGMENT = 1 << 20
"""Bytes of output that one segment makes. A segment needs no other, so a board holds one in memory, and starts again
at the one that was cut off."""
LENGTH_LIMIT = 1 << 36
"""Bytes of an image (64 GiB): larger than a board's storage, small enough that no sum below can overflow."""
COPY_MIN = 16
"""Bytes of the shortest copy: shorter ones cost more in the control stream than they save."""
COPIES_LIMIT = SEGMENT // COPY_MIN
WORD = 4
VARINT_LIMIT = 6
"""Bytes of one number in a stream: 42 bits, enough for a signed step inside LENGTH_LIMIT."""
GAP_LIMIT = 3
"""Bytes of one gap: a segment has 2**18 words."""
DIGEST = 16
"""Bytes of a segment's truncated SHA-256."""
DICTIONARY = 1 << 20
"""Bytes of xz dictionary in a decoder: a stream is never much longer than one segment."""

STREAMS = ("control", "gaps", "values", "extra")
# lc, lp, pb: measured on AArch64 images; the values are 32-bit words, so their position modulo 4 is context.
_CONTEXT = {"control": (1, 0, 0), "gaps": (2, 0, 0), "values": (0, 2, 2), "extra": (3, 0, 1)}

_MAGIC = b"esd1"
_HEADER = struct.Struct("<4sIQ32sQ32sII")
_CRC = struct.Struct("<I")
_SEGMENT = struct.Struct("<16sII4I")
HEADER_SIZE = _HEADER.size
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
class SegmentHeader:
    """One segment: the hash of its output, how many copies and corrected words make it, and the bytes of each
    compressed stream in the order of STREAMS. `crc` is the CRC-32 of the rest of the header and of the streams: it
    keeps most damaged input away from the decoders; the hash is what proves the output.
    """

    crc: int
    digest: bytes
    copies: int
    words: int
    packed: tuple[int, ...]

    @property
    def body_length(self) -> int:
        return sum(self.packed)

    def check(self, number: int, body: bytes) -> None:
        """Raises DeltaCorruptError when `body` is not what this header was written with."""
        if _crc(self._plain(), body) != self.crc:
            raise corrupt(number, "crc", "header and streams do not have it; fetch the delta again")

    def streams(self, body: bytes) -> dict[str, memoryview]:
        """The compressed streams by name."""
        found, view, at = {}, memoryview(body), 0
        for name, size in zip(STREAMS, self.packed, strict=True):
            found[name] = view[at : at + size]
            at += size
        return found

    def _plain(self) -> bytes:
        return _SEGMENT.pack(self.digest, self.copies, self.words, *self.packed)


def corrupt(number: int, field: str, text: str) -> DeltaCorruptError:
    """The error for one field of one segment."""
    return DeltaCorruptError(f"delta, segment {number}, {field}: {text}")


def parse_header(data: bytes) -> Header:
    """Raises UnknownFormatError for a version or flags of a later format, DeltaCorruptError for anything broken."""
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


def parse_segment_header(number: int, data: bytes, output: int) -> SegmentHeader:
    """The header of segment `number`, which makes `output` bytes. Raises DeltaCorruptError past any limit."""
    if len(data) != SEGMENT_HEADER_SIZE:
        raise corrupt(
            number, "header", f"found {len(data)} bytes, expected {SEGMENT_HEADER_SIZE}; the delta is cut off"
        )
    (crc,) = _CRC.unpack_from(data)
    digest, copies, words, *packed = _SEGMENT.unpack_from(data, _CRC.size)
    if copies > COPIES_LIMIT:
        raise corrupt(number, "copies", f"found {copies}, at most {COPIES_LIMIT}")
    if words > -(-output // WORD):
        raise corrupt(number, "words", f"found {words} in {output} bytes")
    limits = (copies * 3 * VARINT_LIMIT, words * GAP_LIMIT, words * WORD, output)
    for name, size, limit in zip(STREAMS, packed, limits, strict=True):
        if size > _packed_limit(limit):
            raise corrupt(number, name, f"found {size} bytes, at most {_packed_limit(limit)} for {limit} unpacked")
    return SegmentHeader(crc, digest, copies, words, tuple(packed))


def encode_segment(digest: bytes, copies: int, words: int, streams: dict[str, bytes]) -> bytes:
    """One whole segment from its plain streams."""
    packed = [pack_stream(name, streams[name]) for name in STREAMS]
    plain = _SEGMENT.pack(digest, copies, words, *(len(data) for data in packed))
    body = b"".join(packed)
    return _CRC.pack(_crc(plain, body)) + plain + body


def pack_stream(name: str, data: bytes) -> bytes:
    """Compress one stream; an empty one stays empty."""
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(name)) if data else b""


def unpack_stream(number: int, name: str, packed: bytes | memoryview, limit: int) -> bytes:
    """Decompress one stream to at most `limit` bytes. Raises DeltaCorruptError for more, broken or trailing bytes."""
    if not packed:
        return b""
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_filters(name))
    try:
        data = decoder.decompress(packed, max_length=limit + 1)
    except lzma.LZMAError as error:
        raise corrupt(number, name, f"does not unpack: {error}") from error
    if len(data) > limit:
        raise corrupt(number, name, f"unpacks to more than {limit} bytes")
    if not decoder.eof or decoder.unused_data:
        raise corrupt(number, name, "is cut off or has bytes behind its end")
    return data


def _filters(name: str) -> list[dict[str, Any]]:
    lc, lp, pb = _CONTEXT[name]
    preset = 9 | lzma.PRESET_EXTREME
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "lc": lc, "lp": lp, "pb": pb, "dict_size": DICTIONARY}]


def _packed_limit(plain: int) -> int:
    """Bytes that xz needs at worst: it stores what it cannot compress, in chunks with a header of three."""
    return plain + plain // 1024 + 64 if plain else 0


def _crc(plain: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(plain))
