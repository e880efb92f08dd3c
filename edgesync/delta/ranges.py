"""Ranges of an image, read one behind the other as if they were an image of their own: files, however they are
scattered, or what is left between files.

Server only. Two such views are aligned as any two images are, and what was found is told in terms of the images again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from edgesync.delta.copies import Copies
from edgesync.delta.disk import read_into
from edgesync.delta.varint import Ints
from edgesync.wire.errors import StorageError

HOLE = -1
"""Offset of a range that is nowhere in the image: zeros that a file system left out."""
Found = tuple[str, list[tuple[int, int]]]
"""Path of a file, and offset and length of each of its ranges in an image, in the order of the file."""
FILES_LIMIT = 1 << 18
"""Files and directories of one image that are looked at: half a kilobyte of memory each."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """int64 arrays, shape (n,), in bytes of the image; no range is empty. `before` are the bytes in those before it."""

    offset: Ints
    length: Ints
    before: Ints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", np.cumsum(self.length) - self.length)

    @property
    def total(self) -> int:
        return int(self.length.sum())

    def read(self, fd: int, name: str) -> bytes:
        """All of it. Raises StorageError with `name` where the image ends before."""
        data = memoryview(bytearray(self.total))
        for at, offset, length in zip(self.before.tolist(), self.offset.tolist(), self.length.tolist(), strict=True):
            if offset != HOLE and read_into(fd, data[at : at + length], offset, name) < length:
                raise StorageError(f"{name}: ends before byte {offset + length}, expected it to stay as it is")
        return bytes(data)

    def of(self, image: bytes) -> bytes:
        """All of it, from an image in memory. There are no holes."""
        rows = zip(self.offset.tolist(), self.length.tolist(), strict=True)
        return b"".join(image[offset : offset + length] for offset, length in rows)

    def spread(self, start: Ints, length: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Rows of bytes of the view, each cut where a range ends: index of the row, bytes of it before the part, offset
        in the image, bytes of the part. What falls into holes is left out.
        """
        first = np.searchsorted(self.before, start, side="right") - 1
        last = np.searchsorted(self.before, start + length, side="left") - 1
        count = np.maximum(last - first + 1, 0)
        row = np.repeat(np.arange(len(start)), count)
        part = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        stored = self.offset[part] != HOLE
        row, part = row[stored], part[stored]
        begin = np.maximum(start[row], self.before[part])
        end = np.minimum((start + length)[row], (self.before + self.length)[part])
        return row, begin - start[row], self.offset[part] + begin - self.before[part], end - begin

    def part(self, start: int, length: int) -> Ranges:
        """Bytes of the view from `start` on, as many of `length` as there are, without holes."""
        _, _, offset, size = self.spread(np.array([start]), np.array([min(length, self.total - start)]))
        return Ranges(offset, size)

    def stored(self) -> Ranges:
        """Without holes."""
        keep = self.offset != HOLE
        return Ranges(self.offset[keep], self.length[keep])

    def minus(self, other: Ranges) -> Ranges:
        """What is in these and in none of the others; both ascending and not overlapping."""
        edges = np.unique(np.concatenate((self.offset, self.offset + self.length, other.offset, _ends(other))))
        start, end = edges[:-1], edges[1:]
        keep = self.holds(start) & ~other.holds(start)
        return joined(start[keep], (end - start)[keep])

    def holds(self, offsets: Ints) -> np.typing.NDArray[np.bool_]:
        """Which bytes of the image are inside; the ranges ascend and do not overlap."""
        if not len(self.offset):
            return np.zeros(len(offsets), np.bool_)
        found = np.maximum(np.searchsorted(self.offset, offsets, side="right") - 1, 0)
        return (offsets >= self.offset[found]) & (offsets < _ends(self)[found])


def ranges(rows: Iterable[tuple[int, int]]) -> Ranges:
    """From offsets and lengths; empty ones are left out."""
    table = np.array([row for row in rows if row[1]], np.int64).reshape(-1, 2)
    return Ranges(table[:, 0].copy(), table[:, 1].copy())


def together(parts: Iterable[Ranges]) -> Ranges:
    """One behind the other, in this order."""
    parts = [Ranges(np.zeros(0, np.int64), np.zeros(0, np.int64)), *parts]
    return Ranges(np.concatenate([p.offset for p in parts]), np.concatenate([p.length for p in parts]))


def shared(owner: Ints, some: Ranges) -> list[int]:
    """Owners of ranges of which a byte belongs to another owner, or to them twice; of two the lower number stays."""
    order = np.lexsort((owner, some.offset))
    reached, wrong = 0, set[int]()
    for number, start, length in zip(*(a[order].tolist() for a in (owner, some.offset, some.length)), strict=True):
        if start < reached:
            wrong.add(number)
        elif number not in wrong:
            reached = start + length
    return sorted(wrong)


def union(offset: Ints, length: Ints) -> Ranges:
    """The bytes that are in any of these ranges, ascending."""
    order = np.argsort(offset, kind="stable")
    start, end = offset[order], (offset + length)[order]
    reached = np.maximum.accumulate(np.concatenate(([0], end)))[:-1] if len(end) else end
    start = np.maximum(start, reached)
    keep = end > start
    return joined(start[keep], (end - start)[keep])


def joined(offset: Ints, length: Ints) -> Ranges:
    """Ascending ranges; those that touch become one."""
    fresh = np.flatnonzero(np.concatenate(([True], offset[1:] != (offset + length)[:-1]))) if len(offset) else offset
    return Ranges(offset[fresh], np.add.reduceat(length, fresh) if len(fresh) else length)


def in_images(copies: Copies, base: Ranges, result: Ranges) -> Copies:
    """Copies between two views as copies between the images, in the order of the result."""
    row, done, at, length = result.spread(copies.at, copies.length)
    again, more, place, length = base.spread(copies.base[row] + done, length)
    at = at[again] + more
    order = np.argsort(at, kind="stable")
    return Copies(at[order], place[order], length[order])


def _ends(some: Ranges) -> Ints:
    return some.offset + some.length
