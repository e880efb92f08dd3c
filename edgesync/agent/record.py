"""What outlives a crash, as one JSON file that is replaced as a whole.

A file that cannot be read is put aside and never overwritten: whoever needs it starts anew from evidence, and says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from edgesync.host.files import read_limited, storage_errors, write_atomic
from edgesync.wire import codec
from edgesync.wire.errors import EdgesyncError, StorageError, UnknownFormatError

FILE_LIMIT = 64 * 1024
"""Bytes; a record is a few KiB."""
SAVE_TRIES, SAVE_WAIT = 360, 10.0
"""Tries to save what must not be lost, and seconds between them: an hour for a full disk, then the service manager's
turn."""

log = logging.getLogger("edgesync.agent")


class Record:
    """The file `path` of version `format`. `damage` is the error of a file that could not be read, or None."""

    def __init__(self, path: str, number: int) -> None:
        self._path, self._format = path, number
        self.damage: EdgesyncError | None = None
        with storage_errors(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path), exist_ok=True)

    def load(self, take: Callable[[Mapping[str, Any]], None]) -> None:
        """Let `take` read what was saved, if anything was; what it raises makes the file unreadable."""
        if not os.path.exists(self._path):
            return
        try:
            value = codec.parse_object(read_limited(self._path, FILE_LIMIT))
            if value.get("format") != self._format:
                raise UnknownFormatError(f"{self._path}: format {value.get('format')!r}, expected {self._format}")
            take(value)
        except EdgesyncError as error:
            aside = f"{self._path}.unreadable"
            with storage_errors(self._path):
                os.replace(self._path, aside)
            self.damage = StorageError(f"journal put aside as {aside}: {error}")

    def save(self, value: Mapping[str, Any]) -> None:
        """Raises DiskFullError or StorageError; what was saved before then stays."""
        write_atomic(self._path, codec.canonical({"format": self._format, **value}), 0o600)


async def persist(save: Callable[[], None]) -> None:
    """Save. A disk that is full is waited for: to go on without would be to forget. Raises the last error."""
    for attempt in range(SAVE_TRIES):
        try:
            save()
        except EdgesyncError as error:
            log.warning("state not saved: %s: %s", error.name, error)
            if attempt == SAVE_TRIES - 1:
                raise
            await asyncio.sleep(SAVE_WAIT)
        else:
            return
