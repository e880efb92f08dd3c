"""Takes batches of rows, makes them durable, and turns them into Parquet files from time to time.

`write` returns when the rows are synced in the write-ahead log: only then may whoever sent them be told. A flush
writes them as one Parquet file of the same number and ends the log. A kill at any moment leaves either the log, or the
file, or both, and at the next start a log whose file is there is thrown away, and one whose file is not becomes it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from collector_ext.lake import files, parquet
from collector_ext.lake.schema import TABLES, Table
from collector_ext.lake.wal import WriteAheadLog, replay
from edgesync.host.clock import Clock
from edgesync.host.files import storage_errors
from edgesync.wire.errors import ConfigError

ROWS = 200_000
"""Rows of one table that wait in memory and in its log until they become a file."""
SIZE = 128 << 20
"""Bytes of them: usual rows have 200 each, those with long attributes come to a file sooner."""
AGE = 60.0
"""Seconds that they wait at most."""
PATIENCE = 4
"""Times `ROWS` and `SIZE` that wait while they cannot be written, on a full disk say, until no more are taken."""

_LOG = re.compile(r"([a-z]+)-(\d{12})\.wal")


@dataclass(slots=True)
class _Waiting:
    """What one table's log holds. `load`: 1 is enough for a file. `since` when, of the monotonic clock."""

    log: WriteAheadLog
    since: float
    batches: list[pa.RecordBatch] = field(default_factory=list)
    load: float = 0.0


class LakeWriter:
    """One process writes one lake. Not thread-safe: one thread calls it.

    Raises ConfigError if another process writes there, DiskFullError and StorageError.
    """

    def __init__(self, directory: Path, clock: Clock, *, rows: int = ROWS, age: float = AGE) -> None:
        self._directory, self._clock, self._rows, self._age = directory, clock, rows, age
        self._logs = directory / "wal"
        self._waiting: dict[str, _Waiting] = {}
        with storage_errors(str(directory)):
            self._logs.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory)
        try:
            self._number = self._recover()
        except BaseException:
            os.close(self._lock)
            raise

    def write(self, rows: Mapping[str, Sequence[pa.RecordBatch]]) -> None:
        """Durable when this returns; call `flush_due` then. Batches have the schema of their table in `schema`."""
        for name, batches in rows.items():
            if name in self._waiting and self._waiting[name].load >= PATIENCE:
                self._flush(name)
            if batches:
                waiting = self._of(name)
                waiting.log.append(batches)
                waiting.batches.extend(batches)
                waiting.load += sum(max(batch.num_rows / self._rows, batch.nbytes / SIZE) for batch in batches)

    def flush_due(self) -> None:
        """Write what has waited long enough; call it from time to time. After an error it goes on waiting."""
        now = self._clock.monotonic()
        for name, waiting in list(self._waiting.items()):
            if waiting.load >= 1 or now - waiting.since >= self._age:
                self._flush(name)

    def flush(self) -> None:
        """Write all that waits."""
        for name in list(self._waiting):
            self._flush(name)

    def close(self) -> None:
        """Write all that waits, and let the lake go. What cannot be written stays in its log."""
        try:
            self.flush()
        finally:
            for waiting in self._waiting.values():
                waiting.log.close()
            self._waiting.clear()
            os.close(self._lock)

    def _of(self, name: str) -> _Waiting:
        if name not in self._waiting:
            self._number += 1
            log = WriteAheadLog(_log_path(self._logs, name, self._number))
            self._waiting[name] = _Waiting(log, self._clock.monotonic())
        return self._waiting[name]

    def _flush(self, name: str) -> None:
        waiting = self._waiting[name]
        _, number = _log_name(waiting.log.path)
        self._write(TABLES[name], number, waiting.batches)
        del self._waiting[name]
        waiting.log.end()

    def _write(self, table: Table, number: int, batches: Sequence[pa.RecordBatch]) -> None:
        if batches:
            path = files.arrived(self._directory, table.name, files.hour_of(self._clock.wall()), number)
            parquet.write(path, table, pa.Table.from_batches(batches, table.schema).to_batches())

    def _recover(self) -> int:
        """Turn logs that were left behind into files, and sweep up what a kill left half-written; the largest number
        that is taken.
        """
        files.sweep(self._directory)
        there = {name: files.found(self._directory, name) for name in TABLES}
        numbers = [file.last for known in there.values() for file in known]
        for path in sorted(self._logs.iterdir()):
            name, number = _log_name(path)
            if name not in TABLES:
                continue
            numbers.append(number)
            if not any(file.first <= number <= file.last for file in there[name]):
                self._write(TABLES[name], number, list(replay(path, TABLES[name].schema)))
            with storage_errors(str(path)):
                path.unlink()
        return max(numbers, default=0)


def _log_path(directory: Path, name: str, number: int) -> Path:
    return directory / f"{name}-{number:012}.wal"


def _log_name(path: Path) -> tuple[str, int]:
    match = _LOG.fullmatch(path.name)
    return (match[1], int(match[2])) if match else ("", 0)


def _lock(directory: Path) -> int:
    with storage_errors(str(directory)):
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise ConfigError(f"{directory}: another process writes this lake; stop it first") from error
    return fd
