"""`pdata` to the rows of the lake's tables, column by column. Pure.

The device of a row is what the receiver says (`edgesync.device`, which the broker has proved), else what the resource
says of itself. Exponential histograms and summaries have no table; they are counted as dropped.

A small message may name a large resource once and have many points: their rows would each repeat it. So a batch has its
limits before anything is repeated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from collector_ext.lake.schema import HISTOGRAMS, LOGS, METRICS, TEXT, TRACES, Table
from collector_ext.pdata import (
    DEVICE,
    Attributes,
    Data,
    Gauge,
    Histogram,
    Logs,
    Metrics,
    Resource,
    Span,
    SpanCode,
    Sum,
    Temporality,
    Traces,
    Value,
)
from edgesync.wire.errors import MessageTooLargeError

ROWS_LIMIT = 200_000
"""Rows of one table that come of one batch."""
TEXT_LIMIT = 12 << 20
"""Characters in them: with the numbers less than a record of the write-ahead log takes, whatever the alphabet."""
KNOWN_LIMIT, KNOWN_LENGTH = 4096, 1000
"""Attribute sets whose JSON is remembered, and how long it may be."""
_DEVICE_KEYS = (DEVICE, "host.id", "service.instance.id", "host.name", "service.name")
_SEVERITIES = ("", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_KINDS = {Temporality.DELTA: "delta", Temporality.CUMULATIVE: "cumulative", Temporality.UNSPECIFIED: "gauge"}
_MICRO = 1000
_MOST = (1 << 63) - 1
"""OTLP counts to twice that, the lake does not."""

Rows = Mapping[str, list[pa.RecordBatch]]


def rows_of(data: Data) -> tuple[Rows, int]:
    """Batches by the name of their table, and how many points have no table. Raises MessageTooLargeError."""
    match data:
        case Metrics():
            return _metrics(data)
        case Traces():
            return _batch(TRACES, _traces(data)), 0
        case Logs():
            return _batch(LOGS, _logs(data)), 0


def _batch(table: Table, columns: dict[str, list[Any]]) -> dict[str, list[pa.RecordBatch]]:
    rows = len(columns[table.time])
    if not rows:
        return {}
    text = sum(sum(map(len, columns[field.name])) for field in table.schema if field.type == TEXT)
    if rows > ROWS_LIMIT or text > TEXT_LIMIT:
        raise MessageTooLargeError(
            f"{table.name}: {rows} rows with {text} characters, at most {ROWS_LIMIT} with {TEXT_LIMIT}"
        )
    arrays = [pa.array(columns[field.name], field.type) for field in table.schema]
    return {table.name: [pa.RecordBatch.from_arrays(arrays, schema=table.schema)]}


def _columns(table: Table) -> dict[str, list[Any]]:
    return {field.name: [] for field in table.schema}


def _metrics(data: Metrics) -> tuple[Rows, int]:
    numbers, histograms, dropped = _columns(METRICS), _columns(HISTOGRAMS), 0
    add = [numbers[name].append for name in METRICS.schema.names]
    time_, device_, metric_, unit_, kind_, attributes_, resource_, value_ = add
    for resource, metric in _each(data):
        device, about = _whose(resource)
        found = metric.data
        if isinstance(found, Gauge | Sum):
            kind = _KINDS[found.temporality] if isinstance(found, Sum) else "gauge"
            for point in found.points:
                if point.value is None:
                    continue
                time_(point.time // _MICRO)
                device_(device)
                metric_(metric.name)
                unit_(metric.unit)
                kind_(kind)
                attributes_(_json(point.attributes))
                resource_(about)
                value_(float(point.value))
        elif isinstance(found, Histogram):
            for bucketed in found.points:
                row = (
                    bucketed.time // _MICRO,
                    device,
                    metric.name,
                    metric.unit,
                    _KINDS[found.temporality],
                    _json(bucketed.attributes),
                    about,
                    min(bucketed.count, _MOST),
                    bucketed.sum or 0.0,
                    list(bucketed.bounds),
                    [min(count, _MOST) for count in bucketed.counts],
                )
                _append(histograms, row)
        elif found is not None:
            dropped += len(found.points)
    return {**_batch(METRICS, numbers), **_batch(HISTOGRAMS, histograms)}, dropped


def _each(data: Metrics) -> Iterator[tuple[Resource, Any]]:
    for resource in data.resources:
        for scope in resource.scopes:
            for metric in scope.metrics:
                yield resource.resource, metric


def _append(columns: dict[str, list[Any]], row: tuple[Any, ...]) -> None:
    for column, value in zip(columns.values(), row, strict=True):
        column.append(value)


def _traces(data: Traces) -> dict[str, list[Any]]:
    columns = _columns(TRACES)
    for resource in data.resources:
        device, about = _whose(resource.resource)
        service = str(resource.resource.attributes.get("service.name", ""))
        for scope in resource.scopes:
            for span in scope.spans:
                _append(columns, _span(span, device, service, about))
    return columns


def _span(span: Span, device: str, service: str, about: str) -> tuple[Any, ...]:
    events = [{"time": e.time, "name": e.name, "attributes": _plain(e.attributes)} for e in span.events]
    links = [{"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links]
    return (
        span.start // _MICRO,
        span.end // _MICRO,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        device,
        service,
        span.name,
        span.kind.name.lower(),
        "" if span.code is SpanCode.UNSET else span.code.name.lower(),
        span.message,
        _json(span.attributes),
        about,
        _dumps(events),
        _dumps(links),
    )


def _logs(data: Logs) -> dict[str, list[Any]]:
    columns = _columns(LOGS)
    for resource in data.resources:
        device, about = _whose(resource.resource)
        for scope in resource.scopes:
            for record in scope.records:
                number = min(24, max(0, record.severity))
                row = (
                    (record.time or record.observed_time) // _MICRO,
                    device,
                    record.severity_text or _SEVERITIES[(number + 3) // 4],
                    number,
                    scope.scope.name,
                    record.body if isinstance(record.body, str) else _dumps(_plain_value(record.body)),
                    _json(record.attributes),
                    about,
                    record.trace_id.hex(),
                    record.span_id.hex(),
                )
                _append(columns, row)
    return columns


# --- attributes as JSON --------------------------------------------------------------------------------------------


def _whose(resource: Resource) -> tuple[str, str]:
    """The device, and everything else that the resource says."""
    attributes = resource.attributes
    device = next((str(attributes[key]) for key in _DEVICE_KEYS if attributes.get(key)), "")
    return device, _json({key: value for key, value in attributes.items() if key != DEVICE})


def _json(attributes: Attributes) -> str:
    if not attributes:
        return "{}"
    try:
        # With the types, for True, 1 and 1.0 are the same key.
        return _KNOWN[tuple(attributes.items()), tuple(map(type, attributes.values()))]
    except TypeError:  # a map or a list within cannot be a key
        return _dumps(_plain(attributes))


class _Known(dict[tuple[tuple[tuple[str, Value], ...], tuple[type, ...]], str]):
    """JSON of attribute sets that come again and again."""

    def __missing__(self, key: tuple[tuple[tuple[str, Value], ...], tuple[type, ...]]) -> str:
        text = _dumps(_plain(dict(key[0])))
        if len(text) <= KNOWN_LENGTH:
            if len(self) >= KNOWN_LIMIT:
                self.clear()
            self[key] = text
        return text


_KNOWN = _Known()


def _plain(attributes: Attributes) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in attributes.items()}


def _plain_value(value: Value) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return json.dumps(value)  # NaN, Infinity: JSON has no numbers for them, OTLP's JSON has these texts
        case bytes():
            return value.hex()
        case tuple():
            return [_plain_value(item) for item in value]
        case Mapping():
            return _plain(value)
    return value


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
