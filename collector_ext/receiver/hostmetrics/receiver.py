"""Scrapes at each interval and gives the batch to the pipeline. A batch that is refused is not offered again: the next
one has newer values, and counts from the last that was taken on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from collector_ext.component import Consumers, Host, Settings
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.pdata import Metrics, ResourceMetrics, Scope, ScopeMetrics
from collector_ext.receiver.hostmetrics import names
from collector_ext.receiver.hostmetrics.config import HostMetricsConfig
from collector_ext.receiver.hostmetrics.scrape import NANO, SCRAPERS, Counters, Place
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.host import system


class HostMetrics:
    """One machine's."""

    def __init__(
        self,
        settings: Settings,
        config: HostMetricsConfig,
        consumers: Consumers,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config, self._consumers, self._log, self._now = config, consumers, settings.logger, now
        self._place = Place(os.path.join(config.root_path or "/", "proc"), os.path.join(config.root_path or "/", "sys"))
        self._boot = system.boot_time(self._place.proc) * NANO
        self._counters = Counters(config.temporality, self._boot)
        self._scope = Scope(names.SCOPE, settings.build.version)
        self._refused = settings.meter.counter("otelcol_receiver_refused_metric_points", "Points that were refused")
        self._name = str(settings.id)
        self._background = Background()

    async def start(self, host: Host) -> None:
        self._background.spawn(host, self._collect(host))

    async def shutdown(self) -> None:
        await self._background.end()

    def scrape(self) -> Metrics:
        """What the named scrapers read now; metrics without points are left out."""
        now, found = self._now(), []
        for name, scraper in SCRAPERS.items():
            if getattr(self._config.scrapers, name) is not None:
                read = scraper(self._place, self._counters, now, self._boot)
                found += [metric for metric in read if metric.data and metric.data.points]
        if not found:
            return Metrics(())
        scope = ScopeMetrics(tuple(found), self._scope, names.SCHEMA_URL)
        return Metrics((ResourceMetrics((scope,), schema_url=names.SCHEMA_URL),))

    async def _collect(self, host: Host) -> None:
        await asyncio.sleep(self._config.initial_delay)
        well = True
        while True:
            batch = self.scrape()
            try:
                if batch.resources:
                    await self._consumers.consume(batch)
                self._counters.taken()
                error = None
            except (PermanentError, RetryableError) as refused:
                self._refused.add(len(batch), receiver=self._name)
                error = refused
            if well is not (error is None):
                well = error is None
                host.report_status(Status.OK if well else Status.RECOVERABLE_ERROR, error)
            await asyncio.sleep(self._config.collection_interval)
