"""One line a batch in the log, with `verbosity: detailed` one for each point, span and record as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from collector_ext.component import Host, Settings, signal_of
from collector_ext.pdata import Data, Logs, Metrics, NumberPoint, Traces

LINES = 1000
"""Lines of one batch; the rest is counted."""


@dataclass(frozen=True, slots=True)
class DebugConfig:
    verbosity: Literal["basic", "detailed"] = "basic"


class Debug:
    """Takes everything."""

    def __init__(self, settings: Settings, config: DebugConfig) -> None:
        self._log, self._detailed = settings.logger, config.verbosity == "detailed"

    async def start(self, host: Host) -> None:
        """Nothing to begin."""

    async def shutdown(self) -> None:
        """Nothing to end."""

    async def consume(self, data: Data) -> None:
        self._log.info("%s: %d resources, %d items", signal_of(data).value, len(data.resources), len(data))
        if self._detailed:
            for number, line in enumerate(lines(data)):
                if number == LINES:
                    self._log.info("... and more")
                    break
                self._log.info("%s", line)


def lines(data: Data) -> Iterator[str]:
    """What is in a batch, a line each."""
    match data:
        case Metrics():
            yield from _metrics(data)
        case Traces():
            for resource in data.resources:
                for scope in resource.scopes:
                    for span in scope.spans:
                        ids, took = f"{span.trace_id.hex()} {span.span_id.hex()}", (span.end - span.start) / 1e6
                        yield f"{ids} {span.name} {took:.3f} ms {dict(span.attributes)}"
        case Logs():
            for logs in data.resources:
                for records in logs.scopes:
                    for record in records.records:
                        yield f"{record.time} {record.severity_text or record.severity} {record.body!r}"


def _metrics(data: Metrics) -> Iterator[str]:
    for resource in data.resources:
        for scope in resource.scopes:
            for metric in scope.metrics:
                for point in metric.data.points if metric.data else ():
                    value = point.value if isinstance(point, NumberPoint) else f"count {point.count}, sum {point.sum}"
                    yield f"{metric.name} {value} {metric.unit} {dict(point.attributes)}"
