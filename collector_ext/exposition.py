"""/metrics for Prometheus: any text at an endpoint, and `service::telemetry::metrics`: what the process costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from collector_ext.config import MetricsTelemetry
from collector_ext.selfmetrics import Meter
from collector_ext.textformat import CONTENT_TYPE
from edgesync.host.http import Answer, HttpServer, not_found, parse_endpoint


def metrics_server(endpoint: str, text: Callable[[], bytes]) -> HttpServer:
    """Answers `GET /metrics` with what `text` makes at that moment. Raises ConfigError."""

    def answer(path: str, _query: Mapping[str, str]) -> Answer:
        return Answer(text(), content_type=CONTENT_TYPE) if path == "/metrics" else not_found()

    return HttpServer(parse_endpoint(endpoint), answer)


class Exposition:
    """Listens from `start` to `shutdown` where an address is configured."""

    def __init__(self, meter: Meter, config: MetricsTelemetry) -> None:
        on = config.address and config.level != "none"
        self._server = metrics_server(config.address, meter.exposition) if on else None
        self._began = time.monotonic()
        self._memory = meter.gauge("otelcol_process_memory_rss", "Resident memory in bytes")
        self._cpu = meter.counter("otelcol_process_cpu_seconds", "User and system time of the process in seconds")
        self._uptime = meter.counter("otelcol_process_uptime", "Seconds since the collector was made")
        meter.observe(self._observe)

    @property
    def port(self) -> int:
        """Where it listens, 0 for nowhere."""
        return self._server.port if self._server else 0

    async def start(self) -> None:
        """Raises NotReachableError where the address cannot be had."""
        if self._server:
            await self._server.start()

    async def shutdown(self) -> None:
        if self._server:
            await self._server.close()

    def _observe(self) -> None:
        with open("/proc/self/statm", "rb") as file:
            self._memory.set(int(file.read(200).split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self._cpu.set(time.process_time())
        self._uptime.set(time.monotonic() - self._began)
