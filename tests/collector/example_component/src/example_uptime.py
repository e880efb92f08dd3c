"""A receiver `uptime`: every `collection_interval` one point of `system.uptime`.

receivers:
  uptime: {collection_interval: 30s}
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from collector_ext.component import Consumers, Host, ReceiverFactory, Settings, Stability
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.ids import Signal
from collector_ext.pdata import Gauge, Metric, Metrics, NumberPoint, ResourceMetrics, Scope, ScopeMetrics
from collector_ext.settings.durations import Duration
from collector_ext.tasks import Background
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class UptimeConfig:
    collection_interval: Duration = Duration(60.0)
    file: str = "/proc/uptime"

    def validate(self) -> None:
        if self.collection_interval <= 0:
            raise ConfigError(f"collection_interval: found {self.collection_interval:g}s, expected more than 0s")


class Uptime:
    def __init__(self, settings: Settings, config: UptimeConfig, consumers: Consumers) -> None:
        self._settings, self._config, self._consumers = settings, config, consumers
        self._background = Background()

    async def start(self, host: Host) -> None:
        self._background.spawn(host, self._collect())

    async def shutdown(self) -> None:
        await self._background.end()

    async def _collect(self) -> None:
        while True:
            try:
                await self._consumers.consume(self._reading())
            except (PermanentError, RetryableError) as error:
                self._settings.logger.warning("one reading is lost: %s", error)
            await asyncio.sleep(self._config.collection_interval)

    def _reading(self) -> Metrics:
        with open(self._config.file, encoding="ascii") as file:
            seconds = float(file.read(100).split()[0])
        metric = Metric("system.uptime", Gauge((NumberPoint(time.time_ns(), seconds),)), "s", "Time since the boot")
        return Metrics((ResourceMetrics((ScopeMetrics((metric,), Scope("example-uptime")),)),))


FACTORY = ReceiverFactory("uptime", Stability.DEVELOPMENT, UptimeConfig, Uptime, frozenset({Signal.METRICS}))
