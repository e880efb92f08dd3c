"""Files that are whole or absent: atomic replacement, synced directories, and reads with a limit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from edgesync.wire.errors import DiskFullError, StorageError


@contextmanager
def storage_errors(path: str) -> Iterator[None]:
    """Turn OSError into DiskFullError or StorageError that names the path."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: str, error: OSError) -> DiskFullError | StorageError:
    """The error that names the path: for what is called so often that a context would cost more than what it does."""
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
    return kind(f"{path}: {error.strerror}")


def write_atomic(path: str, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data`: after a power cut there is the old content or the new, never a mixture.

    Raises DiskFullError or StorageError; the old content then stays, or the new is there where only its directory could
    not be synced.
    """
    temporary = f"{path}.tmp"
    with storage_errors(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        fsync_dir(os.path.dirname(path) or ".")


def fsync_dir(path: str) -> None:
    """Make renames and deletions in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_limited(path: str, limit: int) -> bytes:
    """The whole file, at most `limit` bytes. Raises StorageError for a larger one or one that cannot be read."""
    with storage_errors(path), open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StorageError(f"{path}: more than {limit} bytes")
    return data


def free_bytes(path: str) -> int:
    """Bytes that this user may still write on the file system of `path`."""
    with storage_errors(path):
        status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
