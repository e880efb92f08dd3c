"""The tables of the lake: columns, the order in which they are sorted, and how Parquet encodes them.

Names follow the ClickHouse exporter's tables in snake_case. Times are UTC in microseconds without a time zone: with
one, DuckDB has no time buckets and pandas needs another package. `attributes` and `resource` are JSON objects with
sorted keys; a series is (device, metric, attributes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

TIME = pa.timestamp("us")
TEXT = pa.string()


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `order` sorts a compacted file; `series` names the columns that repeat in it and go into dictionaries;
    `time` is the column that retention and queries look at.
    """

    name: str
    schema: pa.Schema
    order: tuple[str, ...]
    series: tuple[str, ...]
    time: str = "time"


def _table(name: str, order: str, series: str, /, **columns: pa.DataType) -> Table:
    schema = pa.schema([pa.field(column, kind, nullable=False) for column, kind in columns.items()])
    return Table(name, schema, tuple(order.split()), tuple(series.split()))


METRICS = _table(
    "metrics",
    "metric device attributes time",
    "metric device attributes unit kind resource",
    time=TIME,
    device=TEXT,
    metric=TEXT,
    unit=TEXT,
    kind=TEXT,  # gauge; or delta, cumulative for sums
    attributes=TEXT,
    resource=TEXT,
    value=pa.float64(),
)
HISTOGRAMS = _table(
    "histograms",
    "metric device attributes time",
    "metric device attributes unit kind resource",
    time=TIME,
    device=TEXT,
    metric=TEXT,
    unit=TEXT,
    kind=TEXT,  # delta, cumulative
    attributes=TEXT,
    resource=TEXT,
    count=pa.int64(),
    sum=pa.float64(),
    bounds=pa.list_(pa.float64()),
    counts=pa.list_(pa.int64()),
)
TRACES = _table(
    "traces",
    "trace_id time",
    "device service name kind status",
    time=TIME,
    end=TIME,
    trace_id=TEXT,
    span_id=TEXT,
    parent_span_id=TEXT,
    device=TEXT,
    service=TEXT,
    name=TEXT,
    kind=TEXT,
    status=TEXT,
    message=TEXT,
    attributes=TEXT,
    resource=TEXT,
    events=TEXT,
    links=TEXT,
)
LOGS = _table(
    "logs",
    "device time",
    "device severity scope resource",
    time=TIME,
    device=TEXT,
    severity=TEXT,
    severity_number=pa.int32(),
    scope=TEXT,
    body=TEXT,
    attributes=TEXT,
    resource=TEXT,
    trace_id=TEXT,
    span_id=TEXT,
)

TABLES: Mapping[str, Table] = {table.name: table for table in (METRICS, HISTOGRAMS, TRACES, LOGS)}
