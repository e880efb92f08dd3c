"""Sends each batch as one OTLP request, again and again while the backend may still take it.

What the backend refuses for good, or has not taken in time, is dropped and counted, so that one bad batch does not hold
up the good ones behind it. What waits is bounded; more is refused, to be offered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from collector_ext.component import Host, Settings, signal_of
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.ids import Signal
from collector_ext.otlp.backend import BackendConfig
from collector_ext.otlp.encode import encode
from collector_ext.otlp.response import rejected
from collector_ext.pdata import Data
from collector_ext.selfmetrics import queue_bytes, queue_dropped
from collector_ext.settings.sizes import MIB
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.wire.errors import EdgesyncError

SENDERS = 4
"""Requests under way at once."""
STOP_LIMIT = 3.0
"""Seconds for what waits when the collector ends."""
FULL_DELAY = 1.0
"""Seconds that whoever meets a full queue is asked to wait."""
DELAY_LIMIT = 3600.0
"""Seconds that a backend can ask us to wait."""
ANSWER_LIMIT = 64 * 1024
"""Bytes of a backend's answer that are read."""


class Transport(Protocol):
    """A way to one backend."""

    async def send(self, signal: Signal, request: bytes) -> bytes:
        """The answer to a request that the backend took, within the timeout. Raises RetryableError, PermanentError."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Request:
    """`done` is told of the end where somebody waits for it."""

    signal: Signal
    body: bytes
    done: asyncio.Future[None] | None

    def end(self, error: EdgesyncError | None = None) -> None:
        if self.done is None or self.done.done():  # whoever waited has given up
            return
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class OtlpExporter:
    """One backend, to which `connect` makes the way at the start. See the module."""

    def __init__(self, settings: Settings, config: BackendConfig, connect: Callable[[], Transport]) -> None:
        self._config, self._log, self._name = config, settings.logger, str(settings.id)
        self._connect = connect
        self._transport: Transport | None = None
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()  # bounded by `_bytes`
        self._bytes, self._runs, self._said = 0, False, ""
        self._tasks = Background()
        meter = settings.meter
        self._sent = meter.counter("collector_otlp_sent_bytes", "Telemetry that backends have taken, before gzip")
        self._dropped = queue_dropped(meter)
        self._waiting = queue_bytes(meter)

    async def start(self, host: Host) -> None:
        """Raises NotReachableError for certificates that cannot be read."""
        self._transport = self._connect()
        for _ in range(SENDERS):
            self._tasks.spawn(host, self._send(host, self._transport))
        self._runs = True

    async def shutdown(self) -> None:
        runs, self._runs = self._runs, False
        if runs:
            try:
                await asyncio.wait_for(self._queue.join(), STOP_LIMIT)
            except asyncio.TimeoutError:
                self._log.warning("%d bytes were not sent within %.0f s", self._bytes, STOP_LIMIT)
        await self._tasks.end()
        while not self._queue.empty():
            self._end(self._queue.get_nowait(), RetryableError("the exporter ends"))
        transport, self._transport = self._transport, None
        if transport:
            await transport.close()

    async def consume(self, data: Data) -> None:
        """With a queue, taken when this returns; without, sent. Raises RetryableError where too much waits, and without
        a queue what became of it.
        """
        body = encode(data)
        if not self._runs or (self._bytes and self._bytes + len(body) > self._config.sending_queue.size_mib * MIB):
            raise RetryableError(f"{self._bytes} bytes wait for {self._config.endpoint}", FULL_DELAY)
        done = None if self._config.sending_queue.enabled else asyncio.get_running_loop().create_future()
        self._count(len(body))
        self._queue.put_nowait(_Request(signal_of(data), body, done))
        if done:
            await done

    async def _send(self, host: Host, transport: Transport) -> None:
        while True:
            request = await self._queue.get()
            try:
                error = await self._deliver(host, transport, request)
            except asyncio.CancelledError:
                self._end(request, RetryableError("the exporter ends"))
                raise
            self._end(request, error)

    async def _deliver(self, host: Host, transport: Transport, request: _Request) -> EdgesyncError | None:
        """None once it is taken; otherwise why it is given up."""
        retry, loop = self._config.retry_on_failure, asyncio.get_running_loop()
        until = loop.time() + (retry.max_elapsed_time or float("inf")) if retry.enabled else 0.0
        wait = float(retry.initial_interval)
        while True:
            try:
                answer = await transport.send(request.signal, request.body)
            except PermanentError as error:
                self._say(host, error)
                return error
            except RetryableError as error:
                self._say(host, error)
                pause = max(wait, error.delay)
                if loop.time() + pause > until:
                    return error
                await asyncio.sleep(pause)
                wait = min(retry.max_interval, 2 * wait)
            else:
                self._say(host, None)
                self._sent.add(len(request.body))
                self._look(request.signal, answer)
                return None

    def _end(self, request: _Request, error: EdgesyncError | None) -> None:
        self._count(-len(request.body))
        self._queue.task_done()
        if error and request.done is None:
            self._dropped.add(1, queue=self._name)
        request.end(error)

    def _say(self, host: Host, error: EdgesyncError | None) -> None:
        """The status, on change only, however many requests tell the same."""
        said = str(error) if error else ""
        if said == self._said:
            return
        self._said = said
        host.report_status(Status.RECOVERABLE_ERROR if error else Status.OK, error)

    def _look(self, signal: Signal, answer: bytes) -> None:
        count, text = rejected(answer)
        if count or text:
            self._log.warning("%s took all %s but %d: %s", self._config.endpoint, signal.value, count, text)

    def _count(self, change: int) -> None:
        self._bytes += change
        self._waiting.set(self._bytes, queue=self._name)
