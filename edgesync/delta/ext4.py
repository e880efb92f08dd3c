"""The files of an ext4 file system: directories and extents, read without mounting anything.

Server only. Of ext2 and ext3 with their block lists, and of files inside inodes, nothing is found. Field offsets are
those of the kernel's documentation (Documentation/filesystems/ext4).
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgesync.delta.ranges import FILES_LIMIT, HOLE, Found

_MAGIC = b"\x53\xef"
_SUPERBLOCK = 1024
_EXTENTS = 0x80000
_INLINE = 0x10000000
_WIDE = 0x80
"""Feature of the file system: group descriptors have 64 bits."""
_ROOT = 2
_DIRECTORY, _FILE = 0x4000, 0x8000
_DEPTH_LIMIT, _PATH_LIMIT = 5, 4096
_DIRECTORY_LIMIT = 64 << 20
_EXTENT_LIMIT = 1 << 20
"""Extents of one file."""


@dataclass(frozen=True, slots=True)
class _Volume:
    fd: int
    block: int
    inode_size: int
    inodes_per_group: int
    inodes: int
    tables: tuple[int, ...]
    """First block of each group's inode table."""

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self.fd, length, offset)
        if len(data) < length:
            raise ValueError("behind the end of the image")
        return data

    def inode(self, number: int) -> bytes:
        if not 1 <= number <= self.inodes:
            raise ValueError(f"inode {number} of {self.inodes}")
        group, index = divmod(number - 1, self.inodes_per_group)
        return self.read(self.tables[group] * self.block + index * self.inode_size, 128)


def files(fd: int) -> Iterator[Found]:
    """Path and ranges of each regular file. Raises ValueError and its like for what is no sound file system."""
    volume = _open(fd)
    seen = {_ROOT}
    waiting = [("", _ROOT)]
    while waiting:
        directory, number = waiting.pop()
        for name, child in _entries(volume, volume.inode(number)):
            path = f"{directory}/{name}" if directory else name
            if child in seen or len(path) > _PATH_LIMIT or len(seen) > FILES_LIMIT:
                continue
            seen.add(child)
            inode = volume.inode(child)
            kind = struct.unpack_from("<H", inode)[0] & 0xF000
            if kind == _DIRECTORY:
                waiting.append((path, child))
            elif kind == _FILE and (rows := _ranges(volume, inode)):
                yield path, rows


def _open(fd: int) -> _Volume:
    head = os.pread(fd, 1024, _SUPERBLOCK)
    if len(head) < 1024 or head[56:58] != _MAGIC:
        raise ValueError("no ext4")
    inodes, blocks, _, _, _, first, log_block = struct.unpack_from("<7I", head)
    per_group, _, inodes_per_group = struct.unpack_from("<3I", head, 32)
    (inode_size,) = struct.unpack_from("<H", head, 88)
    (features,) = struct.unpack_from("<I", head, 96)
    (size,) = struct.unpack_from("<H", head, 254)
    size = size if features & _WIDE else 32
    sound = log_block <= 6 and per_group and inodes_per_group and 128 <= inode_size <= 1 << 16 and 32 <= size <= 1024
    groups = -(-(blocks - first) // per_group) if sound else 0
    if not 0 < groups <= 1 << 16:
        raise ValueError("no sound ext4")
    block = 1024 << log_block
    table = os.pread(fd, groups * size, (first + 1) * block)
    tables = tuple(
        struct.unpack_from("<I", table, at + 8)[0]
        | (struct.unpack_from("<I", table, at + 40)[0] << 32 if size >= 64 else 0)
        for at in range(0, groups * size, size)
    )
    return _Volume(fd, block, inode_size, inodes_per_group, inodes, tables)


def _entries(volume: _Volume, inode: bytes) -> Iterator[tuple[str, int]]:
    """Names and inodes in a directory."""
    rows = _ranges(volume, inode)
    if sum(length for _, length in rows) > _DIRECTORY_LIMIT:
        return
    for offset, length in rows:
        if offset == HOLE:
            continue
        data = volume.read(offset, length)
        at = 0
        while at + 8 <= len(data):
            number, size, name_length = struct.unpack_from("<IHB", data, at)
            if size < 8:
                break
            name = data[at + 8 : at + 8 + name_length]
            if number and name and name not in (b".", b".."):
                yield name.decode("utf-8", "surrogateescape"), number
            at += size


def _ranges(volume: _Volume, inode: bytes) -> list[tuple[int, int]]:
    """Offset and length of each part of a file whose contents lie in blocks, in the order of the file."""
    (flags,) = struct.unpack_from("<I", inode, 32)
    if not flags & _EXTENTS or flags & _INLINE:
        return []
    size = struct.unpack_from("<I", inode, 4)[0] | struct.unpack_from("<I", inode, 108)[0] << 32
    rows, done = list[tuple[int, int]](), 0
    extents = itertools.islice(_extents(volume, inode[40:100], _DEPTH_LIMIT), _EXTENT_LIMIT)
    for logical, count, place in sorted(extents):
        start = logical * volume.block
        length = min(count * volume.block, size - start)
        if start < done or length <= 0:
            continue
        rows += [(HOLE, start - done), (place * volume.block, length)]
        done = start + length
    return [*rows, (HOLE, size - done)]


def _extents(volume: _Volume, node: bytes, depth: int) -> Iterator[tuple[int, int, int]]:
    """First block of the file, number of blocks, and first block in the image."""
    magic, count, _, below = struct.unpack_from("<4H", node)
    if magic != 0xF30A or below >= depth or 12 + 12 * count > len(node):
        raise ValueError("no sound extents")
    for at in range(12, 12 + 12 * count, 12):
        if below:
            _, low, high = struct.unpack_from("<IIH", node, at)
            yield from _extents(volume, volume.read((high << 32 | low) * volume.block, volume.block), below)
        else:
            logical, length, high, low = struct.unpack_from("<IHHI", node, at)
            if length <= 1 << 15:  # more marks blocks that are reserved and not written
                yield logical, length, high << 32 | low
