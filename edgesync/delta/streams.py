"""The streams of a delta: bytes, packed by whichever of four methods makes them smallest. Without the fourth, standard
library only.

The first byte of a packed stream says how: below 225 it is LZMA2 with the settings (pb * 5 + lp) * 9 + lc, as in an
.lzma file; STORED and DEFLATED are for the short ones, which LZMA2's own headers would double; MIXED is for tables, by
the context-mixing coder, which not every board has. A stream of nothing has no bytes at all.
"""

from __future__ import annotations

import lzma
import zlib
from typing import Any

from edgesync.delta import mixing
from edgesync.wire.errors import DeltaCorruptError

STORED, DEFLATED, MIXED = 225, 226, 227
DICTIONARY = 1 << 20
"""Bytes of dictionary in an LZMA2 decoder: a stream is never much longer than one segment."""
_DEFLATE_BELOW = 1 << 15
"""Bytes of a stream for which deflate is tried: it never wins for a longer one."""
_LZMA_FROM = 48
"""Bytes of a stream from which LZMA2 is tried: it never wins for a shorter one, and takes a millisecond to find out."""
_DICTIONARY_MIN = 4096
# lc, lp, pb that an encoder tries: of numbers, of 32-bit words, of anything.
_NUMBERS = ((3, 0, 0), (1, 0, 0))
_CONTEXTS = {
    "values": ((1, 2, 2), (0, 2, 2)),
    "differences": ((3, 0, 2), (2, 2, 2), (1, 0, 0)),
    "changes": ((0, 0, 0), (2, 0, 0)),
    "extra": ((3, 0, 2), (3, 0, 0), (2, 2, 2)),
}


def pack(name: str, data: bytes, *, quick: bool = False, mixed: int = 0) -> bytes:
    """Pack the stream `name` as small as can be; if `quick`, in microseconds, without LZMA2. MIXED is tried for tables
    if `mixed` gives the limit to which they will be unpacked.
    """
    if not data:
        return b""
    packed = [bytes([STORED]) + data]
    if len(data) < _DEFLATE_BELOW or quick:
        packed.append(bytes([DEFLATED]) + _deflated(data))
    if len(data) >= _LZMA_FROM and not quick:
        for settings in _CONTEXTS.get(name, _NUMBERS):
            packed.append(_lzma(data, *settings))
            if len(packed[-1]) > len(data):
                break  # noise, which other settings do not shrink either
    smallest = min(packed, key=len)
    stream = mixing.pack_table(name, data, mixed, len(smallest) - 2) if mixed and mixing.is_table(name) else None
    return smallest if stream is None else bytes([MIXED]) + stream


def guess(data: bytes) -> int:
    """About how long the packed stream would be, for a choice between two; much faster than packing it."""
    return len(zlib.compress(data, 1))


def unpack(part: str, name: str, packed: bytes | memoryview, limit: int) -> bytes:
    """One stream, unpacked to at most `limit` bytes. Raises DeltaCorruptError for more, broken or trailing bytes, and
    UnknownFormatError for one of the context-mixing coder where that is not installed.
    """
    if not packed:
        return b""
    method, rest = packed[0], memoryview(packed)[1:]
    try:
        if method == STORED:
            data, whole = bytes(rest[: limit + 1]), True
        elif method == DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            data = inflater.decompress(rest, limit + 1)
            whole = inflater.eof and not inflater.unused_data
        elif is_mixed(name, bytes(packed[:1])):
            data, whole = _unmixed(part, name, bytes(rest), limit), True
        else:
            decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_filters(*_settings(part, name, method)))
            data = decoder.decompress(rest, max_length=limit + 1)
            whole = decoder.eof and not decoder.unused_data
    except (lzma.LZMAError, zlib.error, ValueError) as error:
        raise corrupt(part, name, f"does not unpack: {error}") from error
    if len(data) > limit:
        raise corrupt(part, name, f"unpacks to more than {limit} bytes")
    if not whole:
        raise corrupt(part, name, "is cut off or has bytes behind its end")
    return data


def is_mixed(name: str, packed: bytes) -> bool:
    """Whether a packed stream is MIXED, by its first byte, which suffices."""
    return packed[:1] == bytes([MIXED]) and mixing.is_table(name)


def packed_limit(plain: int) -> int:
    """Bytes that a stream needs at worst: each method stores what it cannot compress, in blocks with short headers."""
    return plain + plain // 1024 + 64 if plain else 0


def corrupt(name: str, field: str, text: str) -> DeltaCorruptError:
    """The error for one field of one chapter or segment."""
    return DeltaCorruptError(f"delta, {name}, {field}: {text}")


def _unmixed(part: str, name: str, packed: bytes, limit: int) -> bytes:
    if not mixing.available():
        raise mixing.absent(f"delta, {part}, {name}")
    return mixing.unpack_table(name, packed, limit)


def _settings(part: str, name: str, method: int) -> tuple[int, int, int]:
    rest, lc = divmod(method, 9)
    pb, lp = divmod(rest, 5)
    if pb > 4 or lc + lp > 4:
        raise corrupt(part, name, f"method {method} is none; as settings it says lc={lc}, lp={lp}, pb={pb}")
    return lc, lp, pb


def _deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    return deflater.compress(data) + deflater.flush()


def _lzma(data: bytes, lc: int, lp: int, pb: int) -> bytes:
    size = min(DICTIONARY, max(_DICTIONARY_MIN, len(data)))
    settings = bytes([(pb * 5 + lp) * 9 + lc])
    return settings + lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(lc, lp, pb, size))


def _filters(lc: int, lp: int, pb: int, size: int = DICTIONARY) -> list[dict[str, Any]]:
    preset = 9 | lzma.PRESET_EXTREME
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "lc": lc, "lp": lp, "pb": pb, "dict_size": size}]
