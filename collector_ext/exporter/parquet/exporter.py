"""Writes batches into the lake. `consume` returns when they are synced: whoever acknowledges after it loses nothing.

Many batches share one sync: what comes while a write is under way goes with the next one. All writing happens in one
thread of its own, compaction in another, so the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from collector_ext.component import Host, Settings
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.parquet.config import ParquetConfig
from collector_ext.exporter.parquet.rows import Rows, rows_of
from collector_ext.lake.compact import Retention, compact, expire
from collector_ext.lake.writer import LakeWriter
from collector_ext.pdata import Data
from collector_ext.settings.sizes import MIB
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.host.clock import Clock, SystemClock
from edgesync.wire.errors import EdgesyncError, MessageTooLargeError

WAITING_LIMIT = 1000
"""Batches that wait for the next sync; more are refused, to be offered again."""
WAITING_SIZE = 64 << 20
"""The same in bytes."""
LOOK_EVERY = 1.0
"""Seconds between two looks at what has waited long enough to become a file."""
TIDY_EVERY = 300.0
"""Seconds between two looks for hours that can be compacted, and for what may go."""

_T = TypeVar("_T")
_Do = Callable[[Callable[[], None]], Awaitable[None]]


class ParquetExporter:
    """One lake; one writer. See the module."""

    def __init__(self, settings: Settings, config: ParquetConfig, clock: Clock | None = None) -> None:
        self._config, self._log, self._clock = config, settings.logger, clock or SystemClock()
        self._directory = Path(config.directory)
        self._writer: LakeWriter | None = None
        self._thread = ThreadPoolExecutor(1, "lake-writer")
        self._tasks = Background()
        self._waiting: list[tuple[Rows, asyncio.Future[None]]] = []
        self._size = 0
        self._news = asyncio.Event()
        self._host: Host | None = None
        self._troubles = set[str]()
        meter = settings.meter
        self._rows = meter.counter("collector_lake_rows", "Rows that were synced, by table")
        self._dropped = meter.counter("collector_lake_dropped_points", "Points of kinds that the lake has no table for")

    async def start(self, host: Host) -> None:
        """Raises ConfigError where another process writes this lake, StorageError."""
        self._host = host
        config = self._config
        self._writer = await self._do(
            lambda: LakeWriter(self._directory, self._clock, rows=config.max_rows, age=config.flush_interval)
        )
        self._tasks.spawn(host, self._commit())
        self._tasks.spawn(host, self._flush())
        self._tasks.spawn(host, self._tidy())

    async def shutdown(self) -> None:
        await self._tasks.end()
        for _, done in self._waiting:
            if not done.done():
                done.set_exception(RetryableError("the lake is being closed"))
        self._waiting.clear()
        if self._writer:
            writer, self._writer = self._writer, None
            await self._do(writer.close)
        self._thread.shutdown()

    async def consume(self, data: Data) -> None:
        """Synced when this returns. Raises RetryableError when it cannot be: a full disk, too much at once; and
        PermanentError for a batch that no lake takes.
        """
        if self._writer is None or len(self._waiting) >= WAITING_LIMIT or self._size >= WAITING_SIZE:
            raise RetryableError(f"{len(self._waiting)} batches wait for the lake {self._directory}", LOOK_EVERY)
        try:
            rows, dropped = rows_of(data)
        except MessageTooLargeError as error:
            raise PermanentError(str(error)) from error
        self._dropped.add(dropped)
        if rows:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((rows, done))
            self._size += sum(batch.nbytes for batches in rows.values() for batch in batches)
            self._news.set()
            await done

    async def _commit(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            taken, self._waiting, self._size = self._waiting, [], 0
            merged = _merged([rows for rows, _ in taken])
            error = await self._attempt("write", self._do, partial(self._write, merged))
            for _, done in taken:
                if done.done():
                    continue  # whoever waited has given up
                if error:
                    done.set_exception(RetryableError(str(error), LOOK_EVERY))
                else:
                    done.set_result(None)
            if not error:
                for table, batches in merged.items():
                    self._rows.add(sum(batch.num_rows for batch in batches), table=table)

    def _write(self, rows: Mapping[str, list[pa.RecordBatch]]) -> None:
        assert self._writer is not None
        self._writer.write(rows)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            writer = self._writer
            if writer:
                await self._attempt("write", self._do, writer.flush_due)

    async def _tidy(self) -> None:
        config = self._config
        retention = Retention(config.retention.max_age, config.retention.max_size_mib * MIB)
        while True:
            # What may go goes first, and whatever becomes of compaction: it needs room, and a full disk has none.
            await self._attempt("delete", asyncio.to_thread, partial(self._expire, retention))
            if config.compaction:
                await self._attempt("compact", asyncio.to_thread, self._compact)
            await asyncio.sleep(TIDY_EVERY)

    def _expire(self, retention: Retention) -> None:
        if gone := expire(self._directory, retention, self._clock.wall()):
            self._log.info("deleted %d files that are too old or too many", len(gone))

    def _compact(self) -> None:
        for done in compact(self._directory, self._clock.wall()):
            self._log.info("compacted %s", done)

    async def _attempt(self, what: str, do: _Do, work: Callable[[], None]) -> EdgesyncError | None:
        """Do it in a thread; an error is a status, until the same succeeds."""
        assert self._host is not None
        try:
            await do(work)
        except EdgesyncError as error:
            if not self._troubles:
                self._host.report_status(Status.RECOVERABLE_ERROR, error)
            self._troubles.add(what)
            return error
        if what in self._troubles:
            self._troubles.remove(what)
            if not self._troubles:
                self._host.report_status(Status.OK)
        return None

    async def _do(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _merged(several: Sequence[Rows]) -> dict[str, list[pa.RecordBatch]]:
    merged: dict[str, list[pa.RecordBatch]] = {}
    for rows in several:
        for table, batches in rows.items():
            merged.setdefault(table, []).extend(batches)
    return merged
