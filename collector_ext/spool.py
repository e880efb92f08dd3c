"""Messages that wait for a way out, in memory first and on disk when they must wait long: bounded, oldest dropped.

    <directory>/<number>.spool   records of length and CRC-32 (u32 each, little-endian) and the message

A board's flash is written only while there is no way out, or at a stop. Each file is synced when it is full, read from
its beginning, and deleted when its last message is out; a kill in between sends a few messages again.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections import deque
from pathlib import Path

from edgesync.host.files import fsync_dir, storage_errors
from edgesync.wire.errors import EdgesyncError

FILE_BYTES = 64 * 1024
"""Bytes of a file, about: what is dropped at once where there is no room, and what a power cut may cost."""
MEMORY_BYTES = 64 * 1024
"""Bytes that wait in memory before they go to the disk."""
RECORD_LIMIT = 128 * 1024

_HEAD = struct.Struct("<II")


class Spool:
    """A queue of messages. `directory` None: in memory only. `limit` bytes of files; `dropped` counts messages."""

    def __init__(self, directory: Path | None, limit: int) -> None:
        """Takes up what an earlier life has left. Raises StorageError."""
        self._directory, self._limit = directory, limit
        self._memory: deque[bytes] = deque()
        self._bytes = 0
        self._reading: deque[bytes] = deque()  # of the oldest file
        self._files: deque[Path] = deque()
        self._next = 0
        self.dropped = 0
        if directory:
            with storage_errors(str(directory)):
                directory.mkdir(parents=True, exist_ok=True)
                found = sorted(path for path in directory.glob("*.spool") if path.stem.isdigit())
            self._files = deque(found)
            self._next = int(found[-1].stem) + 1 if found else 0

    def __bool__(self) -> bool:
        return bool(self._memory or self._reading or self._files)

    @property
    def waiting(self) -> int:
        """Bytes in memory; what is on the disk is the disk's."""
        return self._bytes + sum(map(len, self._reading))

    def put(self, message: bytes) -> None:
        """Behind all others. Where there is no room, the oldest go."""
        self._memory.append(message)
        self._bytes += len(message)
        while self._bytes > MEMORY_BYTES:
            if self._directory is None or not self._spill():
                self._bytes -= len(self._memory.popleft())
                self.dropped += 1

    def oldest(self) -> bytes | None:
        """The message whose turn it is; None for none."""
        while not self._reading and self._files:
            self._reading.extend(_read(self._files[0]))
            if not self._reading:
                self._delete()
        if self._reading:
            return self._reading[0]
        return self._memory[0] if self._memory else None

    def done(self, message: bytes) -> None:
        """What `oldest` gave is out. Where it was written to the disk or dropped meanwhile, it is told once more."""
        if self._reading and self._reading[0] is message:
            self._reading.popleft()
            if not self._reading:
                self._delete()
        elif not self._reading and self._memory and self._memory[0] is message:
            self._bytes -= len(self._memory.popleft())

    def close(self) -> None:
        """Write down what waits, for the next life."""
        if self._memory and self._directory:
            self._spill()

    def _spill(self) -> bool:
        """All of the memory as one file; False where the disk does not take it."""
        assert self._directory is not None
        path = self._directory / f"{self._next:012}.spool"
        data = b"".join(_HEAD.pack(len(m), zlib.crc32(m)) + m for m in self._memory)
        try:
            with storage_errors(str(path)):
                with path.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                fsync_dir(str(self._directory))
        except EdgesyncError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return False
        self._next += 1
        self._files.append(path)
        self._memory.clear()
        self._bytes = 0
        self._make_room()
        return True

    def _make_room(self) -> None:
        sizes = {path: path.stat().st_size for path in self._files if path.exists()}
        while len(self._files) > 1 and sum(sizes.values()) > self._limit:
            oldest = self._files[0]
            self.dropped += len(self._reading) or len(_read(oldest))
            self._reading.clear()
            sizes.pop(oldest, None)
            self._delete()

    def _delete(self) -> None:
        path = self._files.popleft()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _read(path: Path) -> list[bytes]:
    """The messages of a file, up to the first that is torn; none of one that cannot be read."""
    found = []
    with contextlib.suppress(OSError), path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            size, crc = _HEAD.unpack(head)
            if size > RECORD_LIMIT or len(message := file.read(size)) < size or zlib.crc32(message) != crc:
                break
            found.append(message)
    return found
