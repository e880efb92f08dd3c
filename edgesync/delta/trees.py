"""The files of an image, and where their bytes lie in it: in a tar, an ext4 file system, or an uncompressed squashfs.

Server only. Files are how two images are compared piece by piece. What cannot be read, or makes no sense, is no file:
then a delta may be larger, and never wrong. So nothing here is an error, but everything has a limit.
"""

from __future__ import annotations

import itertools
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgesync.delta import ext4, squashfs
from edgesync.delta.disk import size_of
from edgesync.delta.ranges import FILES_LIMIT, HOLE, Found, Ranges, ranges, shared, together

RANGES_LIMIT = 1 << 22
"""Ranges of all files of an image together."""


@dataclass(frozen=True, slots=True)
class File:
    """A file with contents; `ranges` are in the order of the file."""

    path: str
    ranges: Ranges


def files(fd: int) -> list[File]:
    """The files of the image, none overlapping another; nothing if it has no tree that can be read."""
    size = size_of(fd)
    readers: tuple[Callable[[int], Iterator[Found]], ...] = (ext4.files, squashfs.files, _tar)
    for reader in readers:
        found, held = list[File](), 0
        try:
            for path, rows in itertools.islice(reader(fd), FILES_LIMIT):
                held += len(rows)
                if held > RANGES_LIMIT:
                    break
                sound = all(offset >= HOLE and length >= 0 and offset + length <= size for offset, length in rows)
                if sound and any(length and offset != HOLE for offset, length in rows):
                    found.append(File(path, ranges(rows)))
        except (ValueError, IndexError, OverflowError, struct.error, tarfile.TarError, OSError, RecursionError):
            pass  # it lies or is cut off: what was found before counts
        if found:
            return _apart(found)
    return []


def _apart(found: list[File]) -> list[File]:
    """In the order of the image, without files that share a byte with another one; of two, the first stays."""
    stored = [file.ranges.stored() for file in found]
    owner = np.repeat(np.arange(len(found)), [len(part.offset) for part in stored])
    wrong = set(shared(owner, together(stored)))
    order = sorted(range(len(found)), key=lambda number: int(stored[number].offset[0]))
    return [found[number] for number in order if number not in wrong]


def _tar(fd: int) -> Iterator[Found]:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name, [(member.offset_data, member.size)]
