"""Takes what the agent leaves at its telemetry port: spans as they come, numbers at each interval and at the
end.

Totals travel as differences to the reading before (delta temporality): small numbers are few bytes. The agent's are
those of a month and outlive it, so the first reading of a life is only where counting begins: what the life before has
told is not told again. What a pipeline refuses for now is offered again with what comes next, up to a limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from collector_ext.component import Consumers, Host, Settings
from collector_ext.consumererror import RetryableError
from collector_ext.pdata import (
    Data,
    Gauge,
    Metric,
    Metrics,
    NumberPoint,
    Resource,
    ResourceMetrics,
    ResourceSpans,
    Scope,
    ScopeMetrics,
    ScopeSpans,
    Span,
    SpanCode,
    SpanKind,
    SpanLink,
    Sum,
    Temporality,
    Traces,
)
from collector_ext.receiver.agent.config import AgentReceiverConfig
from collector_ext.tasks import Background
from edgesync.host.telemetry import Reading, TelemetryPort, Uplink, now
from edgesync.wire import trace
from edgesync.wire.errors import ConfigError, EdgesyncError

WAITING_LIMIT = 16
"""Batches that wait for a pipeline that refuses them."""
NANO = 1_000_000_000
SCOPE = Scope("edgesync.agent")
RESOURCE = Resource({"service.name": "edgesync-agent"})


class AgentReceiver:
    """Rides in one agent's process."""

    def __init__(self, settings: Settings, config: AgentReceiverConfig, consumers: Consumers) -> None:
        self._every, self._consumers, self._log = config.collection_interval, consumers, settings.logger
        self._port: TelemetryPort | None = None
        self._runs = False
        self._tasks = Background()
        self._news = asyncio.Event()
        self._waiting: deque[Data] = deque(maxlen=WAITING_LIMIT)
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[int, float]] = {}

    def ride(self, _device: str, port: TelemetryPort, _uplink: Uplink) -> None:
        self._port = port

    async def start(self, host: Host) -> None:
        """Raises ConfigError outside of an agent."""
        if self._port is None:
            raise ConfigError("it tells of an agent: name this file in agent.toml, table [collector]")
        self._port.listen(self._news.set)
        self._runs = True
        self._tasks.spawn(host, self._read(self._port))

    async def shutdown(self) -> None:
        if self._port:
            self._port.listen(None)
        await self._tasks.end()
        runs, self._runs = self._runs, False
        if self._port and runs:
            self._look(self._port)  # else a board that fetches and reboots within an interval never tells those bytes
            await self._give(self._port)

    async def _read(self, port: TelemetryPort) -> None:
        loop, due = asyncio.get_running_loop(), 0.0
        while True:
            if loop.time() >= due:
                due = loop.time() + self._every
                self._look(port)
            await self._give(port)
            timer = loop.call_at(due, self._news.set)
            await self._news.wait()
            timer.cancel()
            self._news.clear()

    def _look(self, port: TelemetryPort) -> None:
        if self._consumers.metrics and (metrics := self._metrics(port.readings(), now())):
            self._waiting.append(metrics)

    async def _give(self, port: TelemetryPort) -> None:
        """Everything that waits, until the pipeline asks to be offered it again."""
        if self._consumers.traces and (spans := port.take()):
            self._waiting.append(traces(spans))
        while self._waiting:
            try:
                await self._consumers.consume(self._waiting[0])
            except RetryableError as error:
                self._log.info("offered again later: %s", error)
                return
            except (EdgesyncError, LookupError) as error:
                self._log.warning("dropped: %s", error)
            self._waiting.popleft()

    def _metrics(self, readings: Sequence[Reading], moment: float) -> Metrics | None:
        by_name: dict[str, list[Reading]] = {}
        for reading in readings:
            by_name.setdefault(reading.name, []).append(reading)
        made = [self._metric(several, moment) for several in by_name.values()]
        if not made:
            return None
        return Metrics((ResourceMetrics((ScopeMetrics(tuple(made), SCOPE),), RESOURCE),))

    def _metric(self, readings: Sequence[Reading], moment: float) -> Metric:
        first = readings[0]
        points = tuple(self._point(reading, moment) for reading in readings)
        data = Sum(points, Temporality.DELTA, monotonic=True) if first.total else Gauge(points)
        return Metric(first.name, data, first.unit)

    def _point(self, reading: Reading, moment: float) -> NumberPoint:
        at = round(moment * NANO)
        if not reading.total:
            return NumberPoint(at, reading.value, reading.attributes)
        key = reading.name, tuple(sorted(reading.attributes.items()))
        value, since = self._before.get(key, (reading.value, moment))
        if reading.value < value or reading.since > since:  # it began anew
            value, since = 0, reading.since
        self._before[key] = reading.value, moment
        return NumberPoint(at, reading.value - value, reading.attributes, round(since * NANO))


def traces(spans: Sequence[trace.Span]) -> Traces:
    """The agent's spans as telemetry."""
    return Traces((ResourceSpans((ScopeSpans(tuple(map(_span, spans)), SCOPE),), RESOURCE),))


def _span(span: trace.Span) -> Span:
    return Span(
        bytes.fromhex(span.trace),
        bytes.fromhex(span.span),
        span.name,
        round(span.start * NANO),
        round(span.end * NANO),
        bytes.fromhex(span.parent),
        SpanKind.INTERNAL,
        dict(span.attributes),
        links=tuple(SpanLink(bytes.fromhex(link.trace), bytes.fromhex(link.span)) for link in span.links),
        code=SpanCode.ERROR if span.error else SpanCode.UNSET,
        message=span.error,
    )
