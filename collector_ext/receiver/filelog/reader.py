"""Files into the ring, the ring into batches, and the positions on disk behind what was taken. No event loop in here:
one thread at a time calls it, and no call waits for anything but the file system.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collector_ext.pdata import LogRecord, Logs, Resource, ResourceLogs, Scope, ScopeLogs
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.entries import Entries
from collector_ext.receiver.filelog.offsets import Offsets
from collector_ext.receiver.filelog.records import Records
from collector_ext.receiver.filelog.ring import Ring
from collector_ext.receiver.filelog.tails import Tail, Tails
from edgesync.wire.errors import EdgesyncError

READ_BYTES = 64 * 1024
"""Bytes that one file gets in its turn, where its entries are not longer."""
BATCH_RECORDS, BATCH_BYTES = 500, 32 * 1024
"""Of a batch, about: what the mqtt exporter packs into a fraction of a message."""
ZEROS_READ = 64
"""Reads of zeros in one turn of a file; holes are none."""
NAMES_LIMIT = 2000
"""Names of files whose attributes are kept."""
SCOPE = "collector_ext/receiver/filelog"


@dataclass(slots=True, eq=False)
class Chunk:
    """Whole entries of one file in the ring, from its byte `at` on; `taken` bytes of it are a pipeline's."""

    tail: Tail
    at: int
    view: memoryview
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`ends` says up to where chunks are taken when the pipeline has taken `logs`."""

    logs: Logs
    ends: tuple[tuple[Chunk, int], ...]


class Reader:
    """`poll` reads, `following` gives the next batch; see there. `close` at the end."""

    def __init__(
        self,
        config: FileLogConfig,
        name: str,
        log: logging.Logger,
        version: str = "",
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        """Takes up where an earlier life has ended. Raises StorageError."""
        self._config, self._log, self._wall = config, log, wall
        self._offsets = Offsets(config.storage, name) if config.storage else None
        known, damage = self._offsets.load() if self._offsets else (None, "")
        if damage:
            log.warning("positions are lost, and what they were for is read from its beginning: %s", damage)
        self._tails = Tails(config, known, log)
        self._ring = Ring(config.buffer_size)
        self._entries = Entries(config.multiline, config.max_log_size)
        self._records = Records(config.parse)
        self._chunks: deque[Chunk] = deque()
        self._read_bytes = max(config.max_log_size + 1, min(READ_BYTES, config.buffer_size // 4))
        self._scope, self._resource = Scope(SCOPE, version), Resource(dict(config.resource))
        self._attributes: dict[str, Mapping[str, str]] = {}
        self._polls = 0
        self._unsaved = ""
        self.cuts = 0
        """Cuts through entries that were too long."""
        self.full = False
        """Did the last poll leave something for want of room?"""
        self.problems: Mapping[str, str] = {}
        """What could not be read or written at the last poll, by path."""

    @property
    def waiting(self) -> int:
        """Bytes in the ring."""
        return self._ring.used

    @property
    def open_files(self) -> int:
        return self._tails.open_files

    def poll(self, now: float) -> None:
        """Read what is new, as far as there is room; files take turns. `now` in monotonic seconds."""
        self._polls += 1
        self.full = False
        due = deque(self._tails.look(now))
        while due and not self.full:
            tail = due.popleft()
            try:
                if self._tails.opened(tail) and self._fill(tail, now):
                    due.append(tail)
            except OSError as error:
                self._tails.problems[tail.path] = str(error.strerror)
        self._save()
        unsaved = {self._offsets.path: self._unsaved} if self._offsets and self._unsaved else {}
        self.problems = {**self._tails.problems, **unsaved}

    def following(self, taken: Batch | None) -> Batch | None:
        """The next batch, None for none yet; `taken` is the one before, which the pipeline has taken or never will."""
        if taken:
            self._finish(taken.ends)
        batch = self._batch()
        while batch and not len(batch.logs):  # empty lines
            self._finish(batch.ends)
            batch = self._batch()
        self._save()
        return batch

    def close(self) -> None:
        self._save()
        self._tails.close()
        if self._offsets:
            self._offsets.close()

    # --- from files into the ring -------------------------------------------------------------------------------

    def _fill(self, tail: Tail, now: float) -> bool:
        """One turn of a file; False where nothing more comes of it now. Raises OSError."""
        tail.turn = self._polls
        rest = os.fstat(tail.fd).st_size - tail.read
        if rest <= 0:
            tail.settled = tail.stamp
            return False
        view = self._ring.reserve(min(rest, self._read_bytes), min(rest, self._entries.limit + 1))
        if view is None:
            self.full = True
            return False
        data = bytes(view[: os.preadv(tail.fd, [view], tail.read)])
        if data.startswith(b"\0"):
            return self._behind_zeros(tail, now)
        to_end = len(data) >= rest
        if to_end and self._tails.is_final(tail, now):
            count = len(data)
        else:
            count = self._entries.complete(data)
            if not count and len(data) > self._entries.limit:
                count = self._entries.piece(data)
                self.cuts += 1
        if count:
            self._chunks.append(Chunk(tail, tail.read, self._ring.commit(count)))
            tail.read += count
            tail.pending += 1
        if to_end and (len(data) - count) <= self._entries.limit:
            tail.settled = tail.stamp
            return False
        return count > 0

    def _behind_zeros(self, tail: Tail, now: float) -> bool:
        """Zeros before data are what a writer leaves who goes on behind a truncation, or a power cut: they are skipped.
        Zeros up to the end are room that was made for what comes: it is waited for.
        """
        at = tail.read
        for _ in range(ZEROS_READ):
            try:
                at = os.lseek(tail.fd, at, os.SEEK_DATA)  # a hole may be large
            except OSError:  # there is no more data
                block = b""
            else:
                block = os.pread(tail.fd, READ_BYTES, at)
            at += len(block) - len(block.lstrip(b"\0"))
            if block.strip(b"\0"):
                break
            if not block:
                if not tail.listed and self._tails.is_final(tail, now):
                    tail.read = tail.stamp[0]
                tail.settled = tail.stamp
                return False
        tail.read = at
        return True

    # --- from the ring into batches -----------------------------------------------------------------------------

    def _batch(self) -> Batch | None:
        if not self._chunks:
            return None
        records: list[LogRecord] = []
        ends, size, observed = [], 0, self._wall()
        for chunk in self._chunks:
            attributes, end = self._about(chunk.tail), 0
            for pieces, end in self._entries.split(bytes(chunk.view[chunk.taken :])):  # noqa: B007 - the last one counts
                records += [self._records.record(piece, attributes, observed) for piece in pieces]
                self.cuts += max(0, len(pieces) - 1)
                size += sum(map(len, pieces))
                if len(records) >= BATCH_RECORDS or size >= BATCH_BYTES:
                    break
            ends.append((chunk, chunk.taken + end))
            if len(records) >= BATCH_RECORDS or size >= BATCH_BYTES:
                break
        scopes = (ScopeLogs(tuple(records), self._scope),) if records else ()
        return Batch(Logs((ResourceLogs(scopes, self._resource),)), tuple(ends))

    def _about(self, tail: Tail) -> Mapping[str, str]:
        if tail.name not in self._attributes:
            if len(self._attributes) > NAMES_LIMIT:
                self._attributes.clear()
            name = os.fsencode(tail.name).decode("utf-8", "replace")
            about = dict(self._config.attributes)
            if self._config.include_file_name:
                about["log.file.name"] = os.path.basename(name)
            if self._config.include_file_path:
                about["log.file.path"] = name
            self._attributes[tail.name] = about
        return self._attributes[tail.name]

    def _finish(self, ends: tuple[tuple[Chunk, int], ...]) -> None:
        for chunk, end in ends:
            chunk.taken = end
            chunk.tail.taken, chunk.tail.dirty = chunk.at + end, True
            if end == len(chunk.view):
                assert self._chunks.popleft() is chunk
                self._ring.release()
                chunk.tail.pending -= 1

    def _save(self) -> None:
        """Where it cannot be, it is tried again with the next."""
        if self._offsets is None:
            self._tails.saved()  # or files that are gone would be remembered for ever
            return
        changes = self._tails.changes()
        if not changes and self._polls != 1:
            return
        try:
            if not self._offsets.append(changes):
                self._offsets.rewrite(self._tails.positions())
        except EdgesyncError as error:
            self._unsaved = str(error)
        else:
            self._unsaved = ""
            self._tails.saved()
