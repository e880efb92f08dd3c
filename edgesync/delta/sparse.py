"""Android sparse images: the container in which fastboot and some build systems deliver a partition.

A file header (28 bytes), then chunks of whole blocks: raw bytes, a repeated 32-bit word, or nothing (holes,
here zeros). The length of the image stands in the header, so a bomb is refused before anything is written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from edgesync.wire.errors import ImageUnreadableError

MAGIC = b"\x3a\xff\x26\xed"
_FILE = struct.Struct("<IHHHHIIII")
HEAD = _FILE.size
"""Bytes of the file header."""
_CHUNK = struct.Struct("<HHII")
_RAW, _FILL, _SKIP, _CRC32 = 0xCAC1, 0xCAC2, 0xCAC3, 0xCAC4
_BLOCK_LIMIT = 1 << 20
_PIECE = 1 << 20
"""Bytes of one piece, whatever the length of a chunk."""


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def length(head: bytes) -> int | None:
    """Bytes of the image in a file that begins with these HEAD bytes; None for a file that is not sparse."""
    if len(head) < HEAD or not head.startswith(MAGIC):
        return None
    _magic, major, *_sizes, block, blocks, _chunks, _checksum = _FILE.unpack_from(head)
    return int(block * blocks) if major == 1 else None


def unpack(source: Reader, limit: int, name: str) -> Iterator[bytes]:
    """The image, piece by piece of at most 1 MiB. Raises ImageUnreadableError that begins with `name`, for an image of
    more than `limit` bytes before anything else.
    """
    head = _take(source, _FILE.size, name)
    magic, major, _minor, file_size, chunk_size, block, blocks, chunks, _checksum = _FILE.unpack(head)
    if magic != int.from_bytes(MAGIC, "little") or major != 1 or file_size < _FILE.size or chunk_size < _CHUNK.size:
        raise ImageUnreadableError(f"{name}: sparse image of version {major}, expected 1")
    if not 0 < block <= _BLOCK_LIMIT or block % 4:
        raise ImageUnreadableError(f"{name}: sparse image with blocks of {block} bytes, at most {_BLOCK_LIMIT}")
    if block * blocks > limit:
        raise ImageUnreadableError(f"{name}: declares {block * blocks} bytes, expected at most {limit}")
    _take(source, file_size - _FILE.size, name)
    done = 0
    for _ in range(chunks):
        kind, _reserved, count, total = _CHUNK.unpack(_take(source, _CHUNK.size, name))
        _take(source, chunk_size - _CHUNK.size, name)
        body = total - chunk_size
        done += count
        if done > blocks or body != {_RAW: count * block, _FILL: 4, _SKIP: 0, _CRC32: 4}.get(kind, -1):
            raise ImageUnreadableError(f"{name}: sparse chunk {kind:#x} of {count} blocks with {body} bytes")
        if kind == _RAW:
            yield from _raw(source, body, name)
        elif kind == _CRC32:
            _take(source, body, name)
            done -= count
        else:
            word = _take(source, body, name) or bytes(4)
            yield from _repeated(word, count * block)
    if done != blocks:
        raise ImageUnreadableError(f"{name}: sparse image with {done} blocks, its header says {blocks}")
    if source.read(1):
        raise ImageUnreadableError(f"{name}: bytes behind the last chunk of the sparse image")


def _raw(source: Reader, length: int, name: str) -> Iterator[bytes]:
    for at in range(0, length, _PIECE):
        yield _take(source, min(_PIECE, length - at), name)


def _repeated(word: bytes, length: int) -> Iterator[bytes]:
    piece = word * (min(_PIECE, length) // 4)
    for at in range(0, length, _PIECE):
        yield piece[: length - at]


def _take(source: Reader, length: int, name: str) -> bytes:
    """Exactly so many bytes; readers of decompressed data give fewer at a time."""
    parts = []
    while length and (part := source.read(length)):
        parts.append(part)
        length -= len(part)
    if length:
        raise ImageUnreadableError(f"{name}: the sparse image is cut off, {length} bytes are missing")
    return b"".join(parts)
