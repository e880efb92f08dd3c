"""Telemetry of boards for tests of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collector_ext.pdata import (
    Gauge,
    LogRecord,
    Logs,
    Metric,
    Metrics,
    NumberPoint,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    ScopeLogs,
    ScopeMetrics,
    ScopeSpans,
    Span,
    SpanCode,
    Sum,
    Temporality,
    Traces,
)

SECOND = 1_000_000_000
START = 1_772_360_100 * SECOND


def gauge(values: Sequence[float], name: str = "m", at: int = START, **resource: str) -> Metrics:
    """One series, a value a second."""
    points = tuple(NumberPoint(at + n * SECOND, value, {"state": "used"}) for n, value in enumerate(values))
    return metrics([Metric(name, Gauge(points), "By")], resource)


def counter(values: Sequence[int], name: str = "c") -> Metrics:
    points = tuple(NumberPoint(START + n * SECOND, value, {}, START) for n, value in enumerate(values))
    return metrics([Metric(name, Sum(points, Temporality.DELTA, True), "{packet}")], {})


def metrics(several: Sequence[Metric], resource: Mapping[str, str]) -> Metrics:
    return Metrics((ResourceMetrics((ScopeMetrics(tuple(several)),), Resource(dict(resource))),))


def span(name: str, **resource: str) -> Traces:
    one = Span(b"t" * 16, b"s" * 8, name, START, START + SECOND, code=SpanCode.ERROR, message="broken")
    return Traces((ResourceSpans((ScopeSpans((one,)),), Resource({"service.name": "agent", **resource})),))


def log(text: str, severity: int = 13) -> Logs:
    return Logs((ResourceLogs((ScopeLogs((LogRecord(START, text, severity=severity),)),), Resource()),))
