"""Positions on disk: `<storage>/<receiver>.offsets`, a line a change, the last of a file's being the one that counts.

    CRC-32 of the rest, 8 hex digits   space   {"at":1234,"inode":[2049,77],"mark":[1000,"<digest>"],"path":"..."}

A line is written when a pipeline has taken what it says, in one call: a kill leaves it whole or leaves the one before.
Only rewriting is synced, for a flash's sake: after a power cut the last seconds may come again. A damaged line costs
itself alone, and the last one may be torn.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from collector_ext.receiver.filelog.identity import Fingerprint
from collector_ext.receiver.filelog.patterns import Inode
from edgesync.host.files import read_limited, storage_errors, write_atomic
from edgesync.wire.errors import StorageError

REWRITE_AT = 256 * 1024
"""Bytes of the file after which it is rewritten, or four times what it was then."""
LIMIT = 64 << 20
"""Bytes of a file that is read at all."""


@dataclass(frozen=True, slots=True)
class Position:
    """`at` bytes of a file were taken; None is a file that is forgotten. `name` is the path at which it was found
    first, `path` the one that it has now.
    """

    inode: Inode
    at: int | None
    path: str = ""
    name: str = ""
    mark: Fingerprint = field(default_factory=Fingerprint)


class Offsets:
    """Raises StorageError and DiskFullError."""

    def __init__(self, directory: str, receiver: str) -> None:
        self.path = os.path.join(directory, f"{quote(receiver, safe='')}.offsets")
        self._fd = -1
        self._size, self._rewrite_at = 0, 0

    def load(self) -> tuple[list[Position] | None, str]:
        """What is known, None before the first start; and what is wrong with the file. Raises StorageError only for a
        directory that cannot be made.
        """
        with storage_errors(self.path):
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if not os.path.lexists(self.path):
            return None, ""
        try:
            *lines, torn = read_limited(self.path, LIMIT).split(b"\n")
        except StorageError as error:
            return [], str(error)
        known: dict[Inode, Position] = {}
        damaged = int(bool(torn) and not lines)
        for line in lines:
            try:
                position = _parsed(line)
            except (ValueError, KeyError, TypeError):
                damaged += 1
            else:
                known[position.inode] = position
        positions = [position for position in known.values() if position.at is not None]
        return positions, f"{self.path}: {damaged} of {len(lines)} lines are damaged" if damaged else ""

    def rewrite(self, positions: Iterable[Position]) -> None:
        """All there is to know, atomically and synced."""
        data = b"".join(map(_line, positions))
        self.close()
        write_atomic(self.path, data, 0o600)
        with storage_errors(self.path):
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = len(data)
        self._rewrite_at = max(REWRITE_AT, 4 * len(data))

    def append(self, changes: Sequence[Position]) -> bool:
        """False where it is time to rewrite instead. After an error the file is what it was."""
        if self._fd < 0 or self._size > self._rewrite_at:
            return False
        data = b"".join(map(_line, changes))
        with storage_errors(self.path):
            written = os.write(self._fd, data)
            if written < len(data):
                os.ftruncate(self._fd, self._size)
                raise StorageError(f"{self.path}: {written} of {len(data)} bytes were written")
        self._size += len(data)
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _line(position: Position) -> bytes:
    fields: dict[str, Any] = {"inode": position.inode, "at": position.at}
    if position.at is not None:
        mark = position.mark.length, position.mark.digest
        fields |= {"path": os.fsencode(position.path).decode("latin-1"), "mark": mark}
        if position.name != position.path:
            fields["name"] = os.fsencode(position.name).decode("latin-1")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> Position:
    """Raises ValueError, KeyError, TypeError."""
    if len(line) < 9 or int(line[:8], 16) != zlib.crc32(line[9:]):
        raise ValueError("damaged")
    fields = json.loads(line[9:])
    device, number = fields["inode"]
    if fields["at"] is None:
        return Position((device, number), None)
    path = os.fsdecode(fields["path"].encode("latin-1"))
    name = os.fsdecode(fields["name"].encode("latin-1")) if "name" in fields else path
    length, digest = fields["mark"]
    return Position((device, number), fields["at"], path, name, Fingerprint(length, digest))
