"""Keeps the newest value of every series and shows them to Prometheus at /metrics.

What a limit refuses is dropped and counted, and a status names the first such metric until nothing was refused for as
long as series live. Whoever gives data is not told: offered again, it would be refused again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from collector_ext.component import Host, Settings
from collector_ext.exporter.prometheus.config import PrometheusConfig
from collector_ext.exporter.prometheus.store import Refused, Store
from collector_ext.exporter.prometheus.values import Reason
from collector_ext.exposition import metrics_server
from collector_ext.pdata import Data, Metrics
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.wire.errors import SeriesLimitError

FRESH = 1.0
"""Seconds for which all scrapes get the same page: many at once cost no more than one."""
SWEEP_EVERY = 10.0
"""Seconds between two looks at what has expired, while nobody scrapes."""
LIMITS = (Reason.SERIES, Reason.TARGET_SERIES, Reason.METRIC_SERIES, Reason.LABEL_BYTES, Reason.SIZE)


class PrometheusExporter:
    """One page."""

    def __init__(self, settings: Settings, config: PrometheusConfig, now: Callable[[], float] = time.monotonic) -> None:
        self._config, self._log, self._now = config, settings.logger, now
        self._store = Store(config)
        self._server = metrics_server(config.endpoint, self.page)
        self._page, self._made = b"", -FRESH
        self._tasks = Background()
        self._host: Host | None = None
        self._limited: float | None = None
        """When a limit last refused something, while the status says so."""
        self._said: set[Reason] = set()
        meter, self._name = settings.meter, str(settings.id)
        self._refused = meter.counter("collector_prometheus_refused_points", "Points that are not shown, by reason")
        self._series = meter.gauge("collector_prometheus_series", "Series that are shown")
        meter.observe(lambda: self._series.set(self._store.series, exporter=self._name))

    @property
    def port(self) -> int:
        """The TCP port that is really listened on."""
        return self._server.port

    async def start(self, host: Host) -> None:
        """Raises NotReachableError where the endpoint cannot be had."""
        await self._server.start()
        self._host = host
        self._tasks.spawn(host, self._sweep())
        self._log.info("shows metrics at %s", self._config.endpoint)

    async def shutdown(self) -> None:
        await self._tasks.end()
        await self._server.close()

    async def consume(self, data: Data) -> None:
        """Never refuses a batch: single points are dropped and counted."""
        assert isinstance(data, Metrics)
        for resource in data.resources:
            self._count(self._store.put(resource, self._now()))
            await asyncio.sleep(0)  # a large batch shall not keep the others waiting

    def page(self) -> bytes:
        """What a scrape gets, at most FRESH seconds old."""
        now = self._now()
        if now >= self._made + FRESH:
            self.look(now)
            self._page, self._made = self._store.page(), now
        return self._page

    def look(self, now: float) -> None:
        """Forget what has expired, also that a limit was met."""
        self._store.expire(now)
        if self._limited is not None and now >= self._limited + self._config.metric_expiration:
            self._limited = None
            self._report(Status.OK, None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            self.look(self._now())
            if self._now() >= self._made + FRESH:
                self._page = b""  # it may be many megabytes

    def _count(self, refused: Refused) -> None:
        for (reason, metric), points in refused.items():
            self._refused.add(points, exporter=self._name, reason=reason.name.lower())
            if reason in LIMITS:
                first, self._limited = self._limited is None, self._now()
                if first:
                    limit = getattr(self._config.limits, reason.value.removeprefix("limits::"))
                    text = f"{metric[:100]!r} is more than {reason.value} ({limit}) lets through"
                    self._report(Status.RECOVERABLE_ERROR, SeriesLimitError(text))
            elif reason is not Reason.OLD and reason not in self._said:
                self._said.add(reason)
                self._log.warning("%r is not shown: %s; more such are only counted", metric[:100], reason.value)

    def _report(self, status: Status, error: SeriesLimitError | None) -> None:
        if self._host:
            self._host.report_status(status, error)
