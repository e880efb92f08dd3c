"""Looks at the memory every `check_interval`, at once when the kernel says that tasks wait for it, and more often while
it is short. A status is reported when the level changes and never otherwise.

    GET /v1/health   healthcheckv2's codes and body of this extension, with the member "memory"
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping

from collector_ext.component import Host, Settings
from collector_ext.extension.memory_health.config import MemoryHealthConfig
from collector_ext.extension.memory_health.judge import Judgement, Level, Thresholds, judge
from collector_ext.extension.memory_health.metrics import MemoryMetrics
from collector_ext.extension.memory_health.sources import Sources, TegraStats
from collector_ext.health import ErrorPolicy, Health, rfc3339
from collector_ext.status import Event, Status
from collector_ext.tasks import Background
from edgesync.host.http import Answer, HttpServer, not_found, parse_endpoint
from edgesync.host.psi import Trigger, trigger
from edgesync.wire.errors import MemoryShortError, StorageError

RECHECK = 5.0
"""Seconds between looks while memory is short, if `check_interval` is more: then someone waits for its end."""
PATH = "/v1/health"


class MemoryHealth:
    """A MemoryPressure."""

    def __init__(
        self,
        settings: Settings,
        config: MemoryHealthConfig,
        sources: Sources | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._now, self._log = config, now, settings.logger
        self._sources = sources or Sources(config.cgroup)
        self._thresholds = Thresholds(
            config.soft,
            config.limit_percentage,
            config.clear_percentage,
            config.pressure_percentage,
            config.clear_checks,
        )
        self._policy = ErrorPolicy(permanent=True, recoverable=True, recovery=config.recovery_duration)
        self._metrics = MemoryMetrics(settings.meter)
        settings.meter.observe(self._observe)
        self._server = HttpServer(parse_endpoint(config.endpoint), self.answer) if config.endpoint else None
        self._tegra = TegraStats(config.tegrastats, config.check_interval, settings.logger)
        self._background, self._woken = Background(), asyncio.Event()
        self._host: Host | None = None
        self._trigger: Trigger | None = None
        self._began = now()
        self._event = Event(Status.NONE, self._began)
        self.judgement = Judgement()

    @property
    def port(self) -> int:
        """The TCP port that is really listened on, 0 for none."""
        return self._server.port if self._server else 0

    async def start(self, host: Host) -> None:
        """Raises NotReachableError where the endpoint cannot be had."""
        self._host = host
        self._event = Event(Status.OK, self._now())
        if self._server:
            await self._server.start()
        if not self.look():
            return
        self._arm()
        how = "and when tasks wait for memory" if self._trigger else "no pressure trigger here"
        self._log.info("looks every %gs, %s", self._config.check_interval, how)
        self._background.spawn(host, self._watch())
        if self._tegra.wanted:
            self._background.spawn(host, self._tegra.run())

    async def shutdown(self) -> None:
        if self._trigger:
            self._trigger.close()
        await self._background.end()
        self.judgement = Judgement()  # who looks no more keeps nobody waiting
        if self._server:
            await self._server.close()

    def shortage(self) -> MemoryShortError | None:
        return MemoryShortError(self.judgement.why) if self.judgement.level else None

    def look(self) -> bool:
        """One look, and a report if the level is another. False where nothing can be seen, which is for good."""
        reading = self._sources.look()
        if reading is None:
            self._report(Status.PERMANENT_ERROR, StorageError("/proc/meminfo: cannot be read, or has no MemTotal"))
            return False
        before, self.judgement = self.judgement, judge(self.judgement, reading, self._thresholds)
        level = self.judgement.level
        if level is not before.level:
            percent, of_what = reading.usage
            attributes = {"level": level.name.lower(), "used_percent": f"{percent:.0f}", "of": of_what}
            error = MemoryShortError(self.judgement.why) if level else None
            self._report(Status.RECOVERABLE_ERROR if level else Status.OK, error, attributes)
        return True

    def answer(self, path: str, _query: Mapping[str, str]) -> Answer:
        reading = self._sources.look()
        if path != PATH:
            return not_found()
        now = self._now()
        body = {"start_time": rfc3339(self._began), **Health(self._event).body(self._policy, now, verbose=True)}
        if reading:
            body["memory"] = self._metrics.body(reading, self._sources.own(), self._tegra.last)
        return Answer(json.dumps(body).encode() + b"\n", self._policy.http_status(self._event, now))

    async def _watch(self) -> None:
        while True:
            short = self.judgement.level is not Level.OK
            pause = min(RECHECK, self._config.check_interval) if short else self._config.check_interval
            try:
                await asyncio.wait_for(self._woken.wait(), pause)
            except asyncio.TimeoutError:  # the builtin TimeoutError only from Python 3.11 on
                pass
            self._woken.clear()
            if not self.look():
                return
            self._arm()

    def _arm(self) -> None:
        """Also anew, when the group that was watched has gone and come back."""
        if self._trigger is None or self._trigger.closed:
            self._trigger = trigger(self._sources.pressure_file, round(self._config.stall * 1e6), self._woken.set)

    def _report(
        self, status: Status, error: Exception | None = None, attributes: Mapping[str, str] | None = None
    ) -> None:
        self._event = Event(status, self._now(), error, attributes or {})
        if self._host:
            self._host.report_status(status, error, attributes)

    def _observe(self) -> None:
        if reading := self._sources.look():
            self._metrics.set(self.judgement, reading, self._sources.own(), self._tegra.last)
