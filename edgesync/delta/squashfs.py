"""The files of a squashfs that is not compressed (mksquashfs -noI -noD -noF): directories, data blocks and fragments.

Server only. In a compressed one nothing is found, and `inside` tells the operator what that costs. The layout is that
of version 4.0 (Documentation/filesystems/squashfs in the kernel).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgesync.delta.ranges import FILES_LIMIT, HOLE, Found

_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
_PLAIN_BLOCK, _PLAIN_METADATA = 1 << 24, 1 << 15
_NO_FRAGMENT = 0xFFFFFFFF
_NO_TABLE = 0xFFFFFFFFFFFFFFFF
_DIRECTORY, _FILE, _LONG_DIRECTORY, _LONG_FILE = 1, 2, 8, 9
_TABLE_LIMIT = 1 << 30
"""Bytes of the table of inodes, or of directories."""
_PATH_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class _Table:
    """Metadata blocks one behind the other, and where each (by its offset in the table) begins in that."""

    data: bytes
    blocks: dict[int, int]

    def at(self, block: int, offset: int) -> int:
        if block not in self.blocks:
            raise ValueError(f"no metadata block at {block}")
        return self.blocks[block] + offset


@dataclass(frozen=True, slots=True)
class _Volume:
    block: int
    inodes: _Table
    directories: _Table
    fragments: bytes
    """Rows of 16 bytes: where a block of fragments begins in the image, and its size."""


def files(fd: int) -> Iterator[Found]:
    """Path and ranges of each regular file. Raises ValueError and its like for what is none, or is compressed."""
    head = os.pread(fd, _SUPERBLOCK.size, 0)
    if len(head) < _SUPERBLOCK.size or head[:4] != b"hsqs":
        raise ValueError("no squashfs")
    _, _, _, block, count, _, log, _, _, major, minor, root, _, ids, _, inodes, directories, fragments, exports = (
        _SUPERBLOCK.unpack(head)
    )
    if (major, minor) != (4, 0) or not 12 <= log <= 20 or block != 1 << log or not inodes < directories < fragments:
        raise ValueError("no sound squashfs")
    # Behind the directories come the metadata of other tables; of each a list of its blocks says where it begins.
    following = [_pointers(fd, table, 1)[0] for table in (fragments, ids, exports) if table != _NO_TABLE]
    volume = _Volume(
        block,
        _table(fd, inodes, directories),
        _table(fd, directories, min(following)),
        _fragments(fd, fragments, count) if count else b"",
    )
    seen, waiting = {root}, [("", root)]
    while waiting:
        directory, reference = waiting.pop()
        for name, child, kind in _entries(volume, reference):
            path = f"{directory}/{name}" if directory else name
            if child in seen or len(path) > _PATH_LIMIT or len(seen) > FILES_LIMIT:
                continue
            seen.add(child)
            if kind == _DIRECTORY:
                waiting.append((path, child))
            elif kind == _FILE:
                yield path, list(_ranges(volume, child))


def _table(fd: int, start: int, end: int) -> _Table:
    if not 0 <= end - start <= _TABLE_LIMIT:
        raise ValueError("no sound table")
    raw, at = os.pread(fd, end - start, start), 0
    parts, blocks, done = list[bytes](), dict[int, int](), 0
    while at < len(raw):
        (head,) = struct.unpack_from("<H", raw, at)
        if not head & _PLAIN_METADATA:
            raise ValueError("compressed metadata")
        blocks[at] = done
        parts.append(raw[at + 2 : at + 2 + (head & ~_PLAIN_METADATA)])
        done += len(parts[-1])
        at += 2 + (head & ~_PLAIN_METADATA)
    return _Table(b"".join(parts), blocks)


def _pointers(fd: int, table: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}Q", os.pread(fd, 8 * count, table))


def _fragments(fd: int, table: int, count: int) -> bytes:
    first = _pointers(fd, table, 1)[0]
    return _table(fd, first, table).data[: 16 * count]


def _entries(volume: _Volume, reference: int) -> Iterator[tuple[str, int, int]]:
    """Name, reference and kind of what is in a directory."""
    data, at = volume.inodes.data, volume.inodes.at(reference >> 16, reference & 0xFFFF)
    (kind,) = struct.unpack_from("<H", data, at)
    if kind == _DIRECTORY:
        block, _, size, offset = struct.unpack_from("<IIHH", data, at + 16)
    elif kind == _LONG_DIRECTORY:
        _, size, block, _, _, offset = struct.unpack_from("<IIIIHH", data, at + 16)
    else:
        raise ValueError(f"a directory of kind {kind}")
    data, at = volume.directories.data, volume.directories.at(block, offset) if size > 3 else 0
    end = at + size - 3
    while at < end:
        count, block, _ = struct.unpack_from("<III", data, at)
        at += 12
        for _ in range(min(count, 255) + 1):
            offset, _, kind, length = struct.unpack_from("<HhHH", data, at)
            yield data[at + 8 : at + 9 + length].decode("utf-8", "surrogateescape"), block << 16 | offset, kind
            at += 9 + length


def _ranges(volume: _Volume, reference: int) -> Iterator[tuple[int, int]]:
    data, at = volume.inodes.data, volume.inodes.at(reference >> 16, reference & 0xFFFF)
    (kind,) = struct.unpack_from("<H", data, at)
    if kind == _FILE:
        place, fragment, offset, size = struct.unpack_from("<IIII", data, at + 16)
        at += 32
    elif kind == _LONG_FILE:
        place, size, _, _, fragment, offset, _ = struct.unpack_from("<QQQIIII", data, at + 16)
        at += 56
    else:
        raise ValueError(f"a file of kind {kind}")
    whole, left = divmod(size, volume.block)
    blocks = whole + (left > 0 and fragment == _NO_FRAGMENT)
    if blocks > len(data) // 4:
        raise ValueError("more blocks than there is room for")
    for number, stored in enumerate(struct.unpack_from(f"<{blocks}I", data, at)):
        length = min(volume.block, size - number * volume.block)
        if not stored:
            yield HOLE, length
            continue
        if stored != _PLAIN_BLOCK | length:
            raise ValueError("compressed data")
        yield place, length
        place += length
    if left and fragment != _NO_FRAGMENT:
        start, stored, _ = struct.unpack_from("<QII", volume.fragments, 16 * fragment)
        if not stored & _PLAIN_BLOCK:
            raise ValueError("compressed fragments")
        yield start + offset, left
