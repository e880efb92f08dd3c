"""From a board to the lake as in production: OTLP, packed, over mosquitto, received, written, compacted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from collector_ext.component import Consumers, Settings, signal_of
from collector_ext.exporter.parquet.config import ParquetConfig
from collector_ext.exporter.parquet.exporter import ParquetExporter
from collector_ext.ids import ComponentId
from collector_ext.lake.compact import compact
from collector_ext.otlp.compact import pack
from collector_ext.otlp.encode import encode
from collector_ext.pdata import Data
from collector_ext.receiver.mqtt.config import MqttReceiverConfig
from collector_ext.receiver.mqtt.receiver import MqttReceiver
from collector_ext.selfmetrics import Meter
from collector_ext.status import Status
from collector_ext.testing.doubles import Host
from edgesync.host.mqtt import LinkOptions, MqttLink, Up
from edgesync.sim.broker import MosquittoBroker
from edgesync.wire import topics
from edgesync.wire.errors import NotReachableError
from edgesync.wire.ids import DeviceId

LIMIT = 60.0
"""Seconds until the broker has connected both sides, and from the last message to its row."""
LATER = 2 * 3600.0
"""Seconds after which the hour of arrival is certainly over."""


@dataclass(frozen=True, slots=True)
class Still:
    """A clock that stands at the moment when everything arrives."""

    at: float

    def wall(self) -> int:
        return int(self.at)

    def monotonic(self) -> float:
        return self.at


class Counting:
    """The exporter, and how many batches it has taken."""

    def __init__(self, exporter: ParquetExporter) -> None:
        self._exporter, self.taken = exporter, 0

    async def consume(self, data: Data) -> None:
        await self._exporter.consume(data)
        self.taken += 1


async def run(
    lake: Path,
    scratch: Path,
    *,
    arrival: float,
    fleet: str,
    boards: Iterable[tuple[DeviceId, Data]],
    server: Iterable[Data],
) -> int:
    """Fill a new lake with what boards and the server tell, as arrived at `arrival` (unix seconds); the number of
    batches. `scratch` is the broker's directory. Raises NotReachableError, StorageError.
    """
    with MosquittoBroker(scratch) as broker:
        meter, host = Meter(), Host()
        whole = ParquetConfig(str(lake), compaction=False)
        exporter = ParquetExporter(_settings("parquet", meter), whole, Still(arrival))
        counting = Counting(exporter)
        config = MqttReceiverConfig(f"{broker.host}:{broker.port}", fleet)
        receiver = MqttReceiver(_settings("mqtt", meter), config, Consumers(counting, counting, counting))
        link = MqttLink(LinkOptions(broker.host, broker.port, f"{fleet}.boards", backoff=0.1))
        await exporter.start(host)
        await receiver.start(host)
        link.start()
        try:
            while not isinstance(await asyncio.wait_for(link.next(), LIMIT), Up):
                pass
            await _until(lambda: host.status is Status.OK)
            await asyncio.sleep(1.0)  # until the broker has the subscription
            sent = 0
            for device, data in boards:
                payload = pack(signal_of(data), encode(data))
                await link.deliver(topics.telemetry(fleet, device), payload, retain=False)
                sent += 1
            for data in server:
                await counting.consume(data)
                sent += 1
            await _until(lambda: counting.taken == sent)
        finally:
            await link.stop()
            await receiver.shutdown()
            await exporter.shutdown()
    for _ in compact(lake, arrival + LATER):
        pass
    return sent


async def _until(reached: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + LIMIT
    while not reached():
        if loop.time() > end:
            raise NotReachableError(f"the pipeline did not get there within {LIMIT:g} s")
        await asyncio.sleep(0.02)


def _settings(name: str, meter: Meter) -> Settings:
    return Settings(ComponentId(name), logging.getLogger(f"sample.{name}"), meter)
