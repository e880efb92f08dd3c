"""One collector: makes the components, starts them in order, keeps their status, and stops them in reverse.

    start: extensions > config to its watchers > exporters, processors, receivers > ready
    stop:  not ready > receivers, processors, exporters > extensions

Around each `start` and `shutdown` the status is reported by itself. A start that fails ends the whole start; a shutdown
that fails does not keep the others from theirs. FATAL_ERROR, reported at any moment, ends `run`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from collector_ext import graph
from collector_ext.component import (
    BuildInfo,
    Component,
    ConfigWatcher,
    PipelineWatcher,
    Settings,
    StatusWatcher,
)
from collector_ext.config import CollectorConfig
from collector_ext.exposition import Exposition
from collector_ext.graph import Instance
from collector_ext.ids import ComponentId, Kind
from collector_ext.selfmetrics import Meter
from collector_ext.settings.bind import redacted
from collector_ext.status import Event, Reporter, Status
from edgesync.wire.errors import CollectorFailedError

STOP_LIMIT = 30.0
"""Seconds that one component gets for its shutdown; after that the next one's turn comes."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

log = logging.getLogger("collector")


class CollectorService:
    """Runs what a configuration says: `start`, then `shutdown`; or `run` for both."""

    def __init__(
        self, config: CollectorConfig, *, build: BuildInfo | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """Raises ConfigError for extensions that depend on each other in a circle, and what factories refuse."""
        self._config, self.now = config, now
        self._build = build or BuildInfo()
        self.meter = Meter()
        log.setLevel(_LEVELS[config.service.telemetry.logs.level])
        self._extensions = graph.extensions(config, self._settings)
        self._pipelines = graph.pipelines(config, self._settings)
        components = [one.component for one in self._extensions]
        self._status_watchers = [one for one in components if isinstance(one, StatusWatcher)]
        self._pipeline_watchers = [one for one in components if isinstance(one, PipelineWatcher)]
        self._reporters = {id(one): self._reporter(one) for one in self.instances}
        self._exposition = Exposition(self.meter, config.service.telemetry.metrics)
        self._status = self.meter.gauge("collector_health_status", "A component's status, numbered as in the Collector")
        self._fatal: asyncio.Event = asyncio.Event()
        self._failure: Exception | None = None
        self._started: bool = False
        self._stopped: bool = False

    @property
    def instances(self) -> Sequence[Instance]:
        """Everything that runs, in the order of its start."""
        return [*self._extensions, *self._pipelines]

    @property
    def extensions(self) -> Mapping[ComponentId, Component]:
        """Those that run, by id."""
        return MappingProxyType({one.id.id: one.component for one in self._extensions})

    async def run(self, stop: asyncio.Event) -> None:
        """Start, wait for `stop` or a fatal error, shut down. Raises what failed at the start, CollectorFailedError
        after a fatal error.
        """
        waits: list[asyncio.Task[bool]] = []
        try:
            await self.start()
            waits = [asyncio.create_task(event.wait()) for event in (stop, self._fatal)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await self.shutdown()
        if self._fatal.is_set():
            raise CollectorFailedError(f"a component failed for good: {self._failure}") from self._failure

    async def start(self) -> None:
        """Raises what the first component that cannot start raises; the caller shuts down, as after a whole start."""
        self._started = True
        await self._exposition.start()
        for one in self._extensions:
            await self._start(one)
        for one in self._extensions:
            if isinstance(one.component, ConfigWatcher):
                await one.component.notify_config(redacted(self._config.effective()))
        for one in self._pipelines:
            await self._start(one)
        for watcher in self._pipeline_watchers:
            await watcher.ready()
        log.info("everything is ready: %d components", len(self.instances))

    async def shutdown(self) -> None:
        """Also without a start, and a second time. Raises nothing: errors are logged and are statuses."""
        if self._stopped:
            return
        self._stopped = True
        if self._started:
            for watcher in reversed(self._pipeline_watchers):
                try:
                    await watcher.not_ready()
                except Exception:
                    log.exception("a pipeline watcher failed")
        for one in reversed(self.instances):
            await self._shut(one)
        await self._exposition.shutdown()

    # --- one component ------------------------------------------------------------------------------------------

    async def _start(self, one: Instance) -> None:
        reporter = self._reporters[id(one)]
        reporter.report(self._event(Status.STARTING))
        try:
            await one.component.start(_Host(self, one))
        except Exception as error:
            reporter.report(self._event(Status.PERMANENT_ERROR, error))
            raise
        reporter.ok_if_starting(self.now())

    async def _shut(self, one: Instance) -> None:
        reporter = self._reporters[id(one)]
        began = reporter.current is not Status.NONE
        if began and reporter.current is not Status.FATAL_ERROR:
            reporter.report(self._event(Status.STOPPING))
        try:
            await asyncio.wait_for(one.component.shutdown(), STOP_LIMIT)
        except Exception as error:
            log.exception("%s: shutdown failed", one.id)
            if began:
                reporter.report(self._event(Status.PERMANENT_ERROR, error))
        else:
            if reporter.current is Status.STOPPING:
                reporter.report(self._event(Status.STOPPED))

    # --- status -------------------------------------------------------------------------------------------------

    def report(self, one: Instance, event: Event) -> None:
        self._reporters[id(one)].report(event)

    def _event(self, status: Status, error: Exception | None = None) -> Event:
        return Event(status, self.now(), error)

    def _reporter(self, one: Instance) -> Reporter:
        before = Status.NONE

        def emit(event: Event) -> None:
            nonlocal before
            recovered, before = before is Status.RECOVERABLE_ERROR and event.status is Status.OK, event.status
            self._tell(one, event, logging.INFO if recovered else logging.DEBUG)

        def refuse(current: Status, event: Event) -> None:
            log.warning("%s: invalid state transition from %s to %s", one.id, current.label, event.status.label)

        return Reporter(emit, refuse)

    def _tell(self, one: Instance, event: Event, quiet: int) -> None:
        """`quiet`: the log's level for what is no error."""
        level = logging.WARNING if event.status.is_error else quiet
        log.log(level, "%s is %s%s", one.id, event.status.label, f": {event.error}" if event.error else "")
        pipelines = " ".join(map(str, one.id.pipelines))
        self._status.set(event.status, kind=one.id.kind.value, id=str(one.id.id), pipelines=pipelines)
        for watcher in self._status_watchers:
            try:
                watcher.component_status_changed(one.id, event)
            except Exception:
                log.exception("a status watcher failed")
        if event.status is Status.FATAL_ERROR:
            self._failure = event.error
            self._fatal.set()

    def _settings(self, kind: Kind, name: ComponentId) -> Settings:
        return Settings(name, log.getChild(kind.value).getChild(str(name)), self.meter, self._build)


class _Host:
    """The service as one component sees it."""

    def __init__(self, service: CollectorService, one: Instance) -> None:
        self._service, self._one = service, one

    @property
    def extensions(self) -> Mapping[ComponentId, Component]:
        return self._service.extensions

    def report_status(
        self, status: Status, error: Exception | None = None, attributes: Mapping[str, str] | None = None
    ) -> None:
        self._service.report(self._one, Event(status, self._service.now(), error, attributes or {}))
