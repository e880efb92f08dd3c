"""Two images that a delta lies between, as files or block devices: by path, since every process opens its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgesync.delta.disk import Meter, hash_of, size_of
from edgesync.host.files import storage_errors
from edgesync.wire.ids import Digest

WHOLE = 64 << 20
"""Bytes of the longest images that are aligned in one piece, which finds a little more than groups do, and takes 22
bytes of memory a byte: 1.5 GiB for one build. Longer images take up to 4 GiB, whatever their length."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths, and lengths in bytes."""

    base: str
    result: str
    base_length: int
    result_length: int

    @contextmanager
    def opened(self) -> Iterator[tuple[int, int]]:
        """Descriptors of base and result. Raises StorageError."""
        with opened(self.base) as base, opened(self.result) as result:
            yield base, result


def pair_of(base: str, result: str) -> Pair:
    """Raises StorageError for files that cannot be read."""
    with opened(base) as base_fd, opened(result) as result_fd:
        return Pair(base, result, size_of(base_fd), size_of(result_fd))


def digest_file(path: str) -> Digest:
    """SHA-256 of a whole file or block device. Raises StorageError."""
    with opened(path) as fd:
        return hash_of(fd, size_of(fd), Meter(0, lambda _done, _total: None), path)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor to read a file. Raises StorageError that names it."""
    with storage_errors(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
