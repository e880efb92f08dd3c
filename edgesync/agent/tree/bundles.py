"""Bundles on disk: what trees are made from and compared with, and the bases of the deltas to come.

    <root>/bundles/<digest>        whole, and never changed
    <root>/bundles/<digest>.new    being made

A bundle is read in small parts: 1 MiB of config costs the resident agent its list of files, not its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass

from edgesync.host.files import free_bytes, fsync_dir, storage_errors
from edgesync.wire import bundle
from edgesync.wire.bundle import Entry, Settings
from edgesync.wire.errors import BaseModifiedError, DiskFullError, EdgesyncError, StorageError
from edgesync.wire.ids import Digest, parse_digest

CHUNK = 32 * 1024
"""Bytes of content in memory at a time."""
RESERVE = 1 << 20
"""Bytes of the file system that config leaves free, for the journals and the log."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a bundle says of itself, and the descriptor of its bytes. Whoever gets one closes it."""

    digest: Digest
    fd: int
    settings: Settings
    entries: tuple[Entry, ...]

    def close(self) -> None:
        with contextlib.suppress(OSError):  # nothing was written
            os.close(self.fd)


class Bundles:
    """The directory `bundles`. Raises DiskFullError and StorageError, and what is named."""

    def __init__(self, root: str) -> None:
        self._directory = os.path.join(root, "bundles")
        with storage_errors(self._directory):
            os.makedirs(self._directory, 0o700, exist_ok=True)

    def whole(self) -> tuple[Digest, ...]:
        """The bundles that are there and are what their names say. Reads all of them."""
        found = []
        with storage_errors(self._directory):
            names = sorted(os.listdir(self._directory))
        for name in names:
            try:
                fd = self.open(parse_digest(name))
            except EdgesyncError:
                continue  # half made, written to, or not ours: it is made again when it is wanted
            os.close(fd)
            found.append(Digest(name))
        return tuple(found)

    def open(self, digest: Digest) -> int:
        """A descriptor for reading a bundle, all of whose bytes were compared with its name. The caller closes it.

        Raises BaseModifiedError for one that is not there as it was sent.
        """
        path = os.path.join(self._directory, digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BaseModifiedError(f"{path}: {error.strerror}") from error
        try:
            self._check(digest, fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def catalogue(self, digest: Digest) -> Catalogue:
        """Raises BaseModifiedError as `open` does, MalformedMessageError and UnknownFormatError for what was no bundle
        when it was signed.
        """
        fd = self.open(digest)
        try:
            with storage_errors(os.path.join(self._directory, digest)):
                length = os.fstat(fd).st_size
                size = min(length, bundle.head_size(os.pread(fd, bundle.HEAD_FIXED, 0)))
                settings, entries = bundle.parse_head(os.pread(fd, size, 0), length)
        except BaseException:
            os.close(fd)
            raise
        return Catalogue(digest, fd, settings, entries)

    def begin(self, digest: Digest, length: int) -> int:
        """A descriptor for writing a bundle of `length` bytes, with room for it. The caller closes it."""
        path = self._new(digest)
        free = free_bytes(self._directory) - RESERVE
        if length > free:
            raise DiskFullError(f"{path}: needs {length} bytes, {max(0, free)} are free")
        with storage_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, max(1, length))
                os.ftruncate(fd, length)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def keep(self, digest: Digest, fd: int) -> None:
        """What was begun is whole: it is a bundle from now on."""
        with storage_errors(self._new(digest)):
            os.fsync(fd)
            os.replace(self._new(digest), os.path.join(self._directory, digest))
            fsync_dir(self._directory)

    def prune(self, keep: tuple[Digest, ...]) -> None:
        with storage_errors(self._directory):
            for name in os.listdir(self._directory):
                if name not in keep:
                    os.unlink(os.path.join(self._directory, name))

    def _check(self, digest: Digest, fd: int) -> None:
        path, sha256, at = os.path.join(self._directory, digest), hashlib.sha256(), 0
        with storage_errors(path):
            length = min(os.fstat(fd).st_size, bundle.BUNDLE_LIMIT)
            while at < length and (data := os.pread(fd, CHUNK, at)):
                sha256.update(data)
                at += len(data)
        if sha256.hexdigest() != digest:
            raise BaseModifiedError(f"{path}: its bytes do not have the digest of its name")

    def _new(self, digest: Digest) -> str:
        return os.path.join(self._directory, f"{digest}.new")


def read(catalogue: Catalogue, entry: Entry, at: int) -> bytes:
    """The content of one file from its byte `at`, at most a chunk of it; b"" at its end."""
    size = min(CHUNK, entry.length - at)
    with storage_errors(f"bundle {catalogue.digest[:12]}"):
        data = os.pread(catalogue.fd, size, entry.offset + at)
    if len(data) != size:
        raise StorageError(f"bundle {catalogue.digest[:12]}: ends in the middle of {entry.path}")
    return data
