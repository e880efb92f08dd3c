"""Reads in a thread, gives to the pipeline in the event loop: neither holds up the other, nor whoever writes the files.

One task polls, one offers batch after batch; a lock lets one of them at a time to the reader. A batch that is refused
for now is offered again, less and less often; meanwhile polling goes on until the ring is full, and after that the
files keep what they have. One that is refused for good is dropped and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from collector_ext.component import Consumers, Host, Settings
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.reader import Batch, Reader
from collector_ext.selfmetrics import queue_bytes
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.host import threads
from edgesync.wire.errors import StorageError

AGAIN_FIRST, AGAIN_LIMIT = 1.0, 30.0
"""Seconds until a refused batch is offered again, doubled each time up to the limit, as in the Collector."""
STOP_LIMIT = 5.0
"""Seconds for what is in the ring when the collector ends; the files keep the rest for the next start."""
TOLD = 3
"""Problems that a status names; more are counted."""

T = TypeVar("T")


class FileLog:
    """One `filelog`."""

    def __init__(self, settings: Settings, config: FileLogConfig, consumers: Consumers) -> None:
        self._settings, self._config, self._consumers = settings, config, consumers
        self._name, self._log = str(settings.id), settings.logger
        self._reader: Reader | None = None
        self._alone = asyncio.Lock()
        self._news, self._room, self._stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._polled, self._given = asyncio.Event(), asyncio.Event()  # at the end
        self._refusal, self._said, self._cut = "", "", 0
        self._tasks = Background()
        meter = settings.meter
        self._accepted = meter.counter("otelcol_receiver_accepted_log_records", "Records that the pipeline has taken")
        self._refused = meter.counter("otelcol_receiver_refused_log_records", "Records that the pipeline did not take")
        self._dropped = meter.counter("collector_filelog_dropped_records", "Records that were refused for good")
        self._cuts = meter.counter("collector_filelog_cuts", "Cuts through entries longer than max_log_size")
        self._open = meter.gauge("otelcol_fileconsumer_open_files", "Files that are open")
        self._waiting = queue_bytes(meter)

    async def start(self, host: Host) -> None:
        """Raises StorageError for a directory of positions that cannot be made."""
        settings = self._settings
        make = partial(Reader, self._config, self._name, settings.logger, settings.build.version)
        self._reader = await threads.run(make)
        self._tasks.spawn(host, self._poll(host, self._reader))
        self._tasks.spawn(host, self._give(host, self._reader))

    async def shutdown(self) -> None:
        """What is in the ring is offered once more, and positions are written."""
        self._stopping.set()
        reader, self._reader = self._reader, None
        if reader is None:
            return
        self._room.set()
        self._news.set()
        try:
            await asyncio.wait_for(self._end(), STOP_LIMIT)
        except asyncio.TimeoutError:
            self._log.warning("%d bytes were not taken within %.0f s", reader.waiting, STOP_LIMIT)
        await self._tasks.end()
        if not self._alone.locked():  # else a thread hangs in there, with a disk
            reader.close()

    async def _end(self) -> None:
        await self._polled.wait()
        await self._given.wait()

    async def _poll(self, host: Host, reader: Reader) -> None:
        try:
            while not self._stopping.is_set():
                self._room.clear()
                await self._call(partial(reader.poll, time.monotonic()))
                self._say(host, reader)
                self._count(reader)
                if reader.waiting:
                    self._news.set()
                try:
                    await asyncio.wait_for(self._room.wait(), self._config.poll_interval)
                except asyncio.TimeoutError:
                    pass
        finally:
            self._polled.set()
            self._news.set()

    async def _give(self, host: Host, reader: Reader) -> None:
        taken: Batch | None = None
        try:
            while True:
                self._news.clear()
                batch = await self._call(partial(reader.following, taken))
                taken = None
                self._count(reader)
                if reader.full:
                    self._room.set()
                if batch:
                    if not await self._offered(host, reader, batch):
                        return
                    taken = batch
                elif self._polled.is_set():
                    return
                else:
                    await self._news.wait()
        finally:
            self._given.set()

    async def _offered(self, host: Host, reader: Reader, batch: Batch) -> bool:
        """Until the pipeline has taken it or never will; False where the collector ends before that."""
        wait, count = AGAIN_FIRST, len(batch.logs)
        while True:
            try:
                await self._consumers.consume(batch.logs)
            except RetryableError as error:
                self._refused.add(count, receiver=self._name)
                self._refusal = str(error)
                self._say(host, reader)
                try:
                    await asyncio.wait_for(self._stopping.wait(), min(max(wait, error.delay), AGAIN_LIMIT))
                except asyncio.TimeoutError:
                    wait = min(AGAIN_LIMIT, 2 * wait)
                else:
                    return False
            except PermanentError as error:
                self._dropped.add(count, receiver=self._name)
                self._refusal = f"{count} records were dropped: {error}"
                self._say(host, reader)
                return True
            else:
                self._accepted.add(count, receiver=self._name)
                self._refusal = ""
                self._say(host, reader)
                return True

    async def _call(self, function: Callable[[], T]) -> T:
        """In a thread, one at a time. Where the waiting is cut off, nothing of the reader is touched any more."""
        await self._alone.acquire()
        try:
            result = await threads.run(function)
        except Exception:
            self._alone.release()
            raise
        self._alone.release()
        return result

    def _count(self, reader: Reader) -> None:
        self._cuts.add(reader.cuts - self._cut, receiver=self._name)
        self._cut = reader.cuts
        self._open.set(reader.open_files, receiver=self._name)
        self._waiting.set(reader.waiting, queue=self._name)

    def _say(self, host: Host, reader: Reader) -> None:
        """The status, on change only."""
        lines = [f"{path}: {text}" for path, text in sorted(reader.problems.items())]
        if self._refusal:
            lines.insert(0, self._refusal)
        if len(lines) > TOLD:
            lines[TOLD:] = [f"and {len(lines) - TOLD} more"]
        said = "; ".join(lines).encode("utf-8", "replace").decode()
        if said != self._said:
            self._said = said
            host.report_status(Status.RECOVERABLE_ERROR if said else Status.OK, StorageError(said) if said else None)
