"""OTLP's export requests to `pdata`, with the official package: on servers only, and for bytes of at most LIMIT.

Bytes come from outside: whatever they are, the answer is a value or a MalformedMessageError.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector_ext.ids import Signal
from collector_ext.otlp.items import check
from collector_ext.pdata import (
    Attributes,
    Buckets,
    Data,
    Exemplar,
    ExponentialHistogram,
    ExponentialPoint,
    Gauge,
    Histogram,
    HistogramPoint,
    LogRecord,
    Logs,
    Metric,
    MetricData,
    Metrics,
    NumberPoint,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    Scope,
    ScopeLogs,
    ScopeMetrics,
    ScopeSpans,
    Span,
    SpanCode,
    SpanEvent,
    SpanKind,
    SpanLink,
    Sum,
    Summary,
    SummaryPoint,
    Temporality,
    Traces,
    Value,
)
from edgesync.wire.errors import MalformedMessageError, MessageTooLargeError

LIMIT = 16 << 20
"""Bytes of one request: more than any batch of ours, and what a sender may make us hold."""
DEPTH = 20
"""Arrays and maps within one another in one attribute."""

_REQUESTS: dict[Signal, Any] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


def decode(signal: Signal, data: bytes) -> Data:
    """Raises MessageTooLargeError, MalformedMessageError."""
    if len(data) > LIMIT:
        raise MessageTooLargeError(f"OTLP request of {len(data)} bytes, at most {LIMIT}")
    try:
        request = _REQUESTS[signal].FromString(data)
        check(signal, request, len(data))
        match signal:
            case Signal.METRICS:
                return of_metrics(request)
            case Signal.TRACES:
                return of_traces(request)
            case Signal.LOGS:
                return of_logs(request)
    except (DecodeError, ValueError, OverflowError) as error:
        raise MalformedMessageError(f"OTLP request of {len(data)} bytes: {error}") from error


def of_metrics(request: Any) -> Metrics:
    """From an ExportMetricsServiceRequest."""
    return Metrics(
        tuple(
            ResourceMetrics(
                tuple(
                    ScopeMetrics(tuple(map(_metric, s.metrics)), _scope(s.scope), s.schema_url) for s in r.scope_metrics
                ),
                _resource(r.resource),
                r.schema_url,
            )
            for r in request.resource_metrics
        )
    )


def of_traces(request: Any) -> Traces:
    """From an ExportTraceServiceRequest."""
    return Traces(
        tuple(
            ResourceSpans(
                tuple(ScopeSpans(tuple(map(_span, s.spans)), _scope(s.scope), s.schema_url) for s in r.scope_spans),
                _resource(r.resource),
                r.schema_url,
            )
            for r in request.resource_spans
        )
    )


def of_logs(request: Any) -> Logs:
    """From an ExportLogsServiceRequest."""
    return Logs(
        tuple(
            ResourceLogs(
                tuple(ScopeLogs(tuple(map(_log, s.log_records)), _scope(s.scope), s.schema_url) for s in r.scope_logs),
                _resource(r.resource),
                r.schema_url,
            )
            for r in request.resource_logs
        )
    )


def _resource(found: Any) -> Resource:
    return Resource(_attributes(found.attributes), found.dropped_attributes_count)


def _scope(found: Any) -> Scope:
    return Scope(found.name, found.version, _attributes(found.attributes), found.dropped_attributes_count)


def _attributes(found: Iterable[Any], depth: int = 0) -> Attributes:
    return {pair.key: _value(pair.value, depth) for pair in found}


def _value(found: Any, depth: int) -> Value:
    kind = found.WhichOneof("value")
    if kind is None:
        return None
    if depth > DEPTH:
        raise ValueError(f"an attribute of more than {DEPTH} arrays and maps within one another")
    if kind == "array_value":
        return tuple(_value(value, depth + 1) for value in found.array_value.values)
    if kind == "kvlist_value":
        return _attributes(found.kvlist_value.values, depth + 1)
    value: Value = getattr(found, kind)
    return value


def _metric(found: Any) -> Metric:
    return Metric(found.name, _data(found), found.unit, found.description, _attributes(found.metadata))


def _data(found: Any) -> MetricData | None:
    match found.WhichOneof("data"):
        case "gauge":
            return Gauge(tuple(map(_number, found.gauge.data_points)))
        case "sum":
            total = found.sum
            points = tuple(map(_number, total.data_points))
            return Sum(points, Temporality(total.aggregation_temporality), total.is_monotonic)
        case "histogram":
            points_ = tuple(map(_histogram, found.histogram.data_points))
            return Histogram(points_, Temporality(found.histogram.aggregation_temporality))
        case "exponential_histogram":
            exponential = found.exponential_histogram
            return ExponentialHistogram(
                tuple(map(_exponential, exponential.data_points)), Temporality(exponential.aggregation_temporality)
            )
        case "summary":
            return Summary(tuple(map(_summary, found.summary.data_points)))
    return None


def _number(found: Any) -> NumberPoint:
    kind = found.WhichOneof("value")
    return NumberPoint(
        found.time_unix_nano,
        getattr(found, kind) if kind else None,
        _attributes(found.attributes),
        found.start_time_unix_nano,
        tuple(map(_exemplar, found.exemplars)) if found.exemplars else (),
        found.flags,
    )


def _histogram(found: Any) -> HistogramPoint:
    return HistogramPoint(
        found.time_unix_nano,
        found.count,
        _optional(found, "sum"),
        tuple(found.explicit_bounds),
        tuple(found.bucket_counts),
        _optional(found, "min"),
        _optional(found, "max"),
        _attributes(found.attributes),
        found.start_time_unix_nano,
        tuple(map(_exemplar, found.exemplars)),
        found.flags,
    )


def _exponential(found: Any) -> ExponentialPoint:
    return ExponentialPoint(
        found.time_unix_nano,
        found.count,
        found.scale,
        found.zero_count,
        _buckets(found, "positive"),
        _buckets(found, "negative"),
        _optional(found, "sum"),
        _optional(found, "min"),
        _optional(found, "max"),
        found.zero_threshold,
        _attributes(found.attributes),
        found.start_time_unix_nano,
        tuple(map(_exemplar, found.exemplars)),
        found.flags,
    )


def _buckets(found: Any, name: str) -> Buckets | None:
    if not found.HasField(name):
        return None
    side = getattr(found, name)
    return Buckets(side.offset, tuple(side.bucket_counts))


def _optional(found: Any, name: str) -> float | None:
    return getattr(found, name) if found.HasField(name) else None


def _summary(found: Any) -> SummaryPoint:
    return SummaryPoint(
        found.time_unix_nano,
        found.count,
        found.sum,
        tuple((pair.quantile, pair.value) for pair in found.quantile_values),
        _attributes(found.attributes),
        found.start_time_unix_nano,
        found.flags,
    )


def _exemplar(found: Any) -> Exemplar:
    kind = found.WhichOneof("value")
    return Exemplar(
        found.time_unix_nano,
        getattr(found, kind) if kind else None,
        _attributes(found.filtered_attributes),
        found.trace_id,
        found.span_id,
    )


def _span(found: Any) -> Span:
    return Span(
        found.trace_id,
        found.span_id,
        found.name,
        found.start_time_unix_nano,
        found.end_time_unix_nano,
        found.parent_span_id,
        SpanKind(found.kind),
        _attributes(found.attributes),
        tuple(map(_event, found.events)),
        tuple(map(_link, found.links)),
        SpanCode(found.status.code),
        found.status.message,
        found.trace_state,
        found.dropped_attributes_count,
        found.dropped_events_count,
        found.dropped_links_count,
        found.flags,
    )


def _event(found: Any) -> SpanEvent:
    return SpanEvent(found.time_unix_nano, found.name, _attributes(found.attributes), found.dropped_attributes_count)


def _link(found: Any) -> SpanLink:
    return SpanLink(
        found.trace_id,
        found.span_id,
        _attributes(found.attributes),
        found.trace_state,
        found.dropped_attributes_count,
        found.flags,
    )


def _log(found: Any) -> LogRecord:
    return LogRecord(
        found.time_unix_nano,
        _value(found.body, 0),
        found.observed_time_unix_nano,
        found.severity_number,
        found.severity_text,
        _attributes(found.attributes),
        found.trace_id,
        found.span_id,
        found.event_name,
        found.dropped_attributes_count,
        found.flags,
    )
