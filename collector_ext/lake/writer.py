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
AGE = 60.0
"""Seconds that they wait at most."""
PATIENCE = 4
"""Times `ROWS` that wait while they cannot be written, on a full disk say, until no more are taken."""

_LOG = re.compile(r"([a-z]+)-(\d{12})\.wal")


class LakeWriter:
    """One process writes one lake. Not thread-safe: one thread calls it.

    Raises ConfigError if another process writes there, DiskFullError and StorageError.
    """

    def __init__(self, directory: Path, clock: Clock, *, rows: int = ROWS, age: float = AGE) -> None:
        self._directory, self._clock, self._rows, self._age = directory, clock, rows, age
        self._logs = directory / "wal"
        self._open: dict[str, WriteAheadLog] = {}
        self._since: dict[str, float] = {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
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
            if self._rows_waiting(name) >= PATIENCE * self._rows:
                self._flush(name)
            if batches:
                self._log_of(name).append(batches)
                self._waiting.setdefault(name, []).extend(batches)

    def flush_due(self) -> None:
        """Write what has waited long enough; call it from time to time. After an error it goes on waiting."""
        now = self._clock.monotonic()
        for name in list(self._waiting):
            if self._rows_waiting(name) >= self._rows or now - self._since[name] >= self._age:
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
            for log in self._open.values():
                log.close()
            self._open.clear()
            os.close(self._lock)

    def _rows_waiting(self, name: str) -> int:
        return sum(batch.num_rows for batch in self._waiting.get(name, ()))

    def _log_of(self, name: str) -> WriteAheadLog:
        if name not in self._open:
            self._number += 1
            self._open[name] = WriteAheadLog(_log_path(self._logs, name, self._number))
            self._since[name] = self._clock.monotonic()
        return self._open[name]

    def _flush(self, name: str) -> None:
        log = self._open[name]
        _, number = _log_name(log.path)
        self._write(TABLES[name], number, self._waiting[name])
        del self._waiting[name], self._open[name], self._since[name]
        log.end()

    def _write(self, table: Table, number: int, batches: Sequence[pa.RecordBatch]) -> None:
        if batches:
            path = files.arrived(self._directory, table.name, files.hour_of(self._clock.wall()), number)
            parquet.write(path, table, pa.Table.from_batches(batches, table.schema).to_batches())

    def _recover(self) -> int:
        """Turn logs that were left behind into files; the largest number that is taken."""
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
