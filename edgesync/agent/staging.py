"""Blobs on disk while they are fetched: verified pieces in a file, and the index that proves them.

    state/blobs/<blob>.part     the blob's full length from the start, so that a full disk shows before the fetch
    state/blobs/<blob>.index    index, then the leaves that are known, in order

There is no list of what is there: at each start every piece is hashed and compared with its leaf, so a torn write, a
bad block or a power cut at any moment costs that piece and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgesync.host.files import free_bytes, read_limited, storage_errors, write_atomic
from edgesync.wire import blob as layout
from edgesync.wire.blob import BlobIndex
from edgesync.wire.errors import BlobCorruptError, DiskFullError, EdgesyncError
from edgesync.wire.ids import BlobId

RESERVE = 1 << 20
"""Bytes of the file system that a download leaves free, for the journal and the log."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What an earlier life has kept of a blob."""

    index: BlobIndex | None = None
    leaves: dict[int, bytes] = field(default_factory=dict)
    have: tuple[int, ...] = ()


class Staging:
    """The directory `blobs` in the state directory. Raises DiskFullError and StorageError only."""

    def __init__(self, state: str) -> None:
        self._directory = os.path.join(state, "blobs")
        with storage_errors(self._directory):
            os.makedirs(self._directory, exist_ok=True)

    def open(self, blob: BlobId, length: int) -> Staged:
        """Make room for a blob of `length` bytes and find what is there. Reads all of it: call from a thread."""
        path = self._part(blob)
        with storage_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                status = os.fstat(fd)
                needed = length - status.st_blocks * 512
                free = max(0, free_bytes(self._directory) - RESERVE)
                if needed > free:
                    raise DiskFullError(f"{path}: {length} bytes need {needed} more, {free} are free")
                if status.st_size != length:
                    os.ftruncate(fd, length)
                os.posix_fallocate(fd, 0, length)
                return self._found(fd, blob, length)
            finally:
                os.close(fd)

    def keep_index(self, blob: BlobId, index: bytes, leaves: Iterable[bytes]) -> None:
        write_atomic(self._index(blob), index + b"".join(leaves), 0o600)

    def keep_piece(self, blob: BlobId, offset: int, data: bytes) -> None:
        """On disk for good when this returns."""
        path = self._part(blob)
        with storage_errors(path):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(fd, data[written:], offset + written)
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def holds(self, blob: BlobId) -> bool:
        """Whether anything of this blob is here."""
        return os.path.exists(self._part(blob))

    def open_blob(self, blob: BlobId) -> int:
        """A descriptor for reading a fetched blob. The caller closes it."""
        with storage_errors(self._part(blob)):
            return os.open(self._part(blob), os.O_RDONLY | os.O_CLOEXEC)

    def forget(self, keep: BlobId | None) -> None:
        """Remove every blob but `keep`."""
        with storage_errors(self._directory):
            for name in os.listdir(self._directory):
                if name.partition(".")[0] != keep:
                    os.unlink(os.path.join(self._directory, name))

    def _found(self, fd: int, blob: BlobId, length: int) -> Staged:
        path = self._index(blob)
        if not os.path.exists(path):
            return Staged()
        try:
            index, leaves = parse_stored(blob, read_limited(path, stored_limit(length)))
        except EdgesyncError:  # written by a dying disk: it is fetched again, in a few hundred bytes
            return Staged()
        if index.length != length:
            return Staged()
        have = []
        if index.lone and _has(fd, 0, length, layout.short_hash(index.lone)):
            have.append(0)
        for number, leaf in leaves.items():
            first = number * layout.PIECES_PER_LEAF
            for piece, expected in enumerate(layout.parse_leaf(index, number, leaf), first):
                if _has(fd, piece * index.piece, index.piece_length(piece), expected):
                    have.append(piece)
        return Staged(index, leaves, tuple(have))

    def _part(self, blob: BlobId) -> str:
        return os.path.join(self._directory, f"{blob}.part")

    def _index(self, blob: BlobId) -> str:
        return os.path.join(self._directory, f"{blob}.index")


def _has(fd: int, offset: int, size: int, expected: bytes) -> bool:
    try:
        return layout.short_hash(os.pread(fd, size, offset)) == expected
    except OSError:  # a bad block: writing the piece again lets the disk put it elsewhere
        return False


def stored_limit(length: int) -> int:
    """Bytes that index and leaves of a blob of `length` bytes can take at most."""
    return layout.INDEX_LIMIT + layout.HASH * -(-length // layout.PIECE)


def parse_stored(blob: BlobId, stored: bytes) -> tuple[BlobIndex, dict[int, bytes]]:
    """Index and leaves from their bytes one after the other; leaves that are not there yet are left out.

    Raises what `wire.blob.parse_index` raises, and BlobCorruptError for bytes that are no leaf of this index.
    """
    size = layout.index_size(stored)
    index = layout.parse_index(blob, stored[:size])
    known: dict[bytes, bytes] = {}
    for at in range(size, len(stored), layout.LEAF_LIMIT):
        leaf = stored[at : at + layout.LEAF_LIMIT]
        digest = layout.short_hash(leaf)
        if digest not in index.leaves:
            raise BlobCorruptError(f"blob {blob}: bytes from {at} are no leaf of its index")
        known[digest] = leaf
    # A blob that repeats itself has leaves that are equal: each stands in every place that names it.
    return index, {number: known[digest] for number, digest in enumerate(index.leaves) if digest in known}
