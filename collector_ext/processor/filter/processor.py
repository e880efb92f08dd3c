"""Drops what does not pass, with the scopes and resources that are empty then, and counts it."""

from __future__ import annotations

from dataclasses import replace

from collector_ext.component import Consumer, Host, Settings
from collector_ext.pdata import Data, Logs, Metrics, Traces
from collector_ext.processor.filter.config import FilterConfig


class Filter:
    """A batch of which nothing passes goes nowhere."""

    def __init__(self, settings: Settings, config: FilterConfig, consumer: Consumer) -> None:
        self._config, self._consumer, self._name = config, consumer, str(settings.id)
        self._dropped = settings.meter.counter("otelcol_processor_filter_dropped_items", "Items that did not pass")

    async def start(self, host: Host) -> None:
        """Nothing to begin."""

    async def shutdown(self) -> None:
        """Nothing to end."""

    async def consume(self, data: Data) -> None:
        passed = self._passed(data)
        if dropped := len(data) - len(passed):
            self._dropped.add(dropped, processor=self._name)
        if passed.resources:
            await self._consumer.consume(passed)

    def _passed(self, data: Data) -> Data:
        config = self._config
        match data:
            case Metrics():
                return metrics(data, config)
            case Traces():
                return spans(data, config)
            case Logs():
                return records(data, config)


def metrics(data: Metrics, config: FilterConfig) -> Metrics:
    kept = []
    for resource in data.resources:
        scopes = [
            replace(scope, metrics=tuple(one for one in scope.metrics if config.metrics.passes(one.name)))
            for scope in resource.scopes
        ]
        if left := tuple(scope for scope in scopes if scope.metrics):
            kept.append(replace(resource, scopes=left))
    return Metrics(tuple(kept))


def spans(data: Traces, config: FilterConfig) -> Traces:
    kept = []
    for resource in data.resources:
        scopes = [
            replace(scope, spans=tuple(one for one in scope.spans if config.spans.passes(one.name)))
            for scope in resource.scopes
        ]
        if left := tuple(scope for scope in scopes if scope.spans):
            kept.append(replace(resource, scopes=left))
    return Traces(tuple(kept))


def records(data: Logs, config: FilterConfig) -> Logs:
    least, kept = config.logs.min_severity, []
    for resource in data.resources:
        scopes = [
            replace(scope, records=tuple(one for one in scope.records if not 0 < one.severity < least))
            for scope in resource.scopes
        ]
        if left := tuple(scope for scope in scopes if scope.records):
            kept.append(replace(resource, scopes=left))
    return Logs(tuple(kept))
