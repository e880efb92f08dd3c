"""How many values a request makes of its bytes: two bytes can be a point, which takes 200 in memory.

What anybody really sends has 20 bytes a point and 10 an attribute: values are bounded by bytes, which are limited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from collector_ext.ids import Signal
from edgesync.wire.errors import MessageTooLargeError

SMALL = 64 * 1024
"""Bytes of a request that is not counted: at the worst it takes 7 MiB."""
BYTES_EACH = 8
"""Bytes that a value has, on the average, in a larger one."""


def check(signal: Signal, request: Any, size: int) -> None:
    """Of a parsed request of `size` bytes. Raises MessageTooLargeError."""
    left = size // BYTES_EACH
    if size <= SMALL:
        return
    for count in _COUNTS[signal](request):
        left -= count
        if left < 0:
            raise MessageTooLargeError(f"OTLP request of {size} bytes with more than {size // BYTES_EACH} values")


def _metrics(request: Any) -> Iterator[int]:
    yield len(request.resource_metrics)
    for resource in request.resource_metrics:
        yield len(resource.resource.attributes) + len(resource.scope_metrics)
        for scope in resource.scope_metrics:
            yield len(scope.scope.attributes) + len(scope.metrics)
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points = getattr(metric, kind).data_points if kind else ()
                yield len(metric.metadata) + len(points)
                for point in points:
                    yield len(point.attributes) + len(point.quantile_values if kind == "summary" else point.exemplars)


def _traces(request: Any) -> Iterator[int]:
    yield len(request.resource_spans)
    for resource in request.resource_spans:
        yield len(resource.resource.attributes) + len(resource.scope_spans)
        for scope in resource.scope_spans:
            yield len(scope.scope.attributes) + len(scope.spans)
            for span in scope.spans:
                yield len(span.attributes) + len(span.events) + len(span.links)


def _logs(request: Any) -> Iterator[int]:
    yield len(request.resource_logs)
    for resource in request.resource_logs:
        yield len(resource.resource.attributes) + len(resource.scope_logs)
        for scope in resource.scope_logs:
            yield len(scope.scope.attributes) + len(scope.log_records)
            for record in scope.log_records:
                yield len(record.attributes)


_COUNTS: dict[Signal, Callable[[Any], Iterator[int]]] = {
    Signal.METRICS: _metrics,
    Signal.TRACES: _traces,
    Signal.LOGS: _logs,
}
