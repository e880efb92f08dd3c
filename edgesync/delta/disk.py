"""Images and blobs on descriptors: reads that are whole or an error, and a target that is synced and read back.

Everything goes through pread and pwrite, a megabyte at a time: no file position is shared with the parent process,
and no image is ever in memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable

from edgesync.host.files import storage_error, storage_errors
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import BaseModifiedError, DeltaCorruptError, DiskFullError, ResultMismatchError
from edgesync.wire.ids import Digest

CHUNK = 1 << 20
SYNC_EVERY = 8 << 20
"""Bytes between two syncs: a slow card then never has more to write out than it does within the stall limit."""

Progress = Callable[[int, int], None]


class Meter:
    """Counts bytes of work towards `total` and reports each step."""

    def __init__(self, total: int, report: Progress) -> None:
        self._done, self._total, self._report = 0, total, report

    def add(self, count: int) -> None:
        self._done += count
        self._report(self._done, self._total)


def size_of(fd: int) -> int:
    """Bytes in a regular file or on a block device."""
    with storage_errors("size"):
        return os.lseek(fd, 0, os.SEEK_END)


def read_into(fd: int, view: memoryview, offset: int, name: str) -> int:
    """Fill `view` from `offset`; fewer bytes only at the end. Raises StorageError with `name`."""
    done, left = 0, view
    try:
        while left and (count := os.preadv(fd, [left], offset + done)):
            done += count
            left = view[done:]
    except OSError as error:
        raise storage_error(name, error) from error
    return done


def read_base(fd: int, view: memoryview, offset: int) -> None:
    """Fill `view` from the base. Raises BaseModifiedError if it ends before."""
    if (count := read_into(fd, view, offset, "base image")) < len(view):
        raise BaseModifiedError(f"base image ends at byte {offset + count}, expected at least {offset + len(view)}")


def read_blob(fd: int, length: int, offset: int) -> bytes:
    """`length` bytes of the blob; the caller has checked the length. Raises DeltaCorruptError if it ends before."""
    data = bytearray(length)
    if (count := read_into(fd, memoryview(data), offset, "blob")) < length:
        raise DeltaCorruptError(f"blob ends at byte {offset + count}, expected at least {offset + length}")
    return bytes(data)


def hash_of(fd: int, length: int, meter: Meter, name: str) -> Digest:
    """SHA-256 of the first `length` bytes, or of all if there are fewer."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(CHUNK, length)))
    for offset in range(0, length, CHUNK):
        view = buffer[: length - offset]
        digest.update(view[: read_into(fd, view, offset, name)])
        meter.add(len(view))
    return Digest(digest.hexdigest())


def check_base(fd: int, length: int, sha256: str, meter: Meter) -> None:
    """Raises BaseModifiedError unless the digest of the first `length` bytes is this, or begins so."""
    if (size := size_of(fd)) < length:
        raise BaseModifiedError(f"base image has {size} bytes, expected at least {length}")
    if not (found := hash_of(fd, length, meter, "base image")).startswith(sha256):
        detail = f"SHA-256 of its first {length} bytes is {found}, expected it to begin with {sha256}"
        raise BaseModifiedError(f"base image: {detail}")


class Target:
    """The image under construction. What is there already is recognised by its hash and not written again, so a
    second run goes on where the first was cut off, and flash is not worn by what did not change.
    """

    def __init__(self, fd: int, length: int) -> None:
        """Makes a regular file `length` bytes long. Raises DiskFullError for a device that is too small."""
        self._fd, self._length, self._unsynced = fd, length, 0
        self._written = size_of(fd)  # what a file is longer by from now on is holes, which hold nothing
        with storage_errors("target slot"):
            if stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, length)
        if (size := size_of(fd)) < length:
            raise DiskFullError(f"target slot has {size} bytes, the image {length}")

    def holds(self, offset: int, length: int, digest: bytes) -> bool:
        """Whether the hash of these bytes (one chunk at most) already begins so, with at most 16 bytes."""
        if offset + length > self._written:
            return False
        buffer = bytearray(length)
        read_into(self._fd, memoryview(buffer), offset, "target slot")
        return short_hash(buffer).startswith(digest)

    def put(self, offset: int, data: memoryview) -> None:
        """Raises DiskFullError or StorageError."""
        done = 0
        with storage_errors("target slot"):
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
            self._unsynced += done
            if self._unsynced >= SYNC_EVERY:
                os.fsync(self._fd)
                self._unsynced = 0

    def finish(self, sha256: str, meter: Meter) -> None:
        """Sync, then read everything back. Raises ResultMismatchError unless its digest is this, or begins so."""
        with storage_errors("target slot"):
            os.fsync(self._fd)
            # Out of the page cache, so that what is read back comes from the storage.
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found = hash_of(self._fd, self._length, meter, "target slot")
        if not found.startswith(sha256):
            raise ResultMismatchError(f"target slot: SHA-256 is {found}, expected it to begin with {sha256}")
