"""Gathers batches of one signal until there are enough items or enough time has passed.

Unlike the Collector's, `consume` returns when the batch that carries the data was taken, and raises what it raised: a
receiver that acknowledges after that has lost nothing. Senders wait, so what is gathered is what they have in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from collector_ext.component import Consumer, Host, Settings
from collector_ext.pdata import Data, Logs, Metrics, Traces
from collector_ext.processor.batch.config import BatchConfig


class Gathering:
    """One batch that is not sent yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.parts: list[Data] = []
        self.items = 0
        self.outcome: asyncio.Future[None] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None


class Batch:
    """A processor."""

    def __init__(self, settings: Settings, config: BatchConfig, consumer: Consumer) -> None:
        self._config, self._consumer = config, consumer
        self._sent = settings.meter.counter("otelcol_processor_batch_sent_items", "Items that left in batches")
        self._batches = settings.meter.counter("otelcol_processor_batch_sent_batches", "Batches that left")
        self._name = str(settings.id)
        self._open: Gathering | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def start(self, host: Host) -> None:
        """Nothing to begin."""

    async def shutdown(self) -> None:
        """What is gathered leaves at once."""
        self._close()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def consume(self, data: Data) -> None:
        """Raises what the consumer behind raises for the batch with this data."""
        gathering = self._open or self._begin()
        gathering.parts.append(data)
        gathering.items += len(data)
        if gathering.items >= self._config.send_batch_size or not self._config.timeout:
            self._close()
        await asyncio.shield(gathering.outcome)  # a sender that gives up takes nothing from the others

    def _begin(self) -> Gathering:
        loop = asyncio.get_running_loop()
        self._open = Gathering(loop)
        if self._config.timeout:
            self._open.timer = loop.call_later(self._config.timeout, self._close)
        return self._open

    def _close(self) -> None:
        gathering, self._open = self._open, None
        if gathering is None:
            return
        if gathering.timer:
            gathering.timer.cancel()
        task = asyncio.ensure_future(self._send(gathering))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, gathering: Gathering) -> None:
        try:
            await self._consumer.consume(joined(gathering.parts))
        except Exception as error:  # noqa: BLE001 - it is raised at every sender
            gathering.outcome.set_exception(error)
            gathering.outcome.exception()  # where every sender has given up, nobody is left to be told
        else:
            self._sent.add(gathering.items, processor=self._name)
            self._batches.add(1, processor=self._name)
            gathering.outcome.set_result(None)


def joined(parts: Sequence[Data]) -> Data:
    """Batches of one signal as one, in their order."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Metrics):
        return Metrics(tuple(one for part in parts if isinstance(part, Metrics) for one in part.resources))
    if isinstance(first, Traces):
        return Traces(tuple(one for part in parts if isinstance(part, Traces) for one in part.resources))
    return Logs(tuple(one for part in parts if isinstance(part, Logs) for one in part.resources))
