"""Small lakes made by hand, for questions to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from collector_ext.exporter.parquet.rows import rows_of
from collector_ext.lake.writer import LakeWriter
from collector_ext.pdata import (
    Data,
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
from edgesync.wire import trace
from edgesync.wire.ids import DeviceId

BEGIN = datetime(2026, 3, 2)  # noqa: DTZ001 - the lake's times are UTC without saying so
ROLLOUT = "r-1"
MINUTE = timedelta(minutes=1)
_NANO = 1_000_000_000


@dataclass
class _Clock:
    now: float = 1_772_500_000.0

    def wall(self) -> int:
        return int(self.now)

    def monotonic(self) -> float:
        return self.now


def fill(directory: Path, *several: Data) -> Path:
    """A lake of these."""
    writer = LakeWriter(directory, _Clock())
    for data in several:
        writer.write(rows_of(data)[0])
    writer.close()
    return directory


def nano(moment: datetime) -> int:
    return round(moment.replace(tzinfo=timezone.utc).timestamp() * _NANO)


def numbers(
    device: str,
    metric: str,
    values: Sequence[float],
    *,
    begin: datetime = BEGIN,
    every: timedelta = 5 * MINUTE,
    difference: bool = False,
    **attributes: str,
) -> Metrics:
    """One series."""
    points = tuple(NumberPoint(nano(begin + n * every), value, attributes) for n, value in enumerate(values))
    data = Sum(points, Temporality.DELTA, monotonic=True) if difference else Gauge(points)
    resource = Resource({"edgesync.device": device})
    return Metrics((ResourceMetrics((ScopeMetrics((Metric(metric, data, "By"),)),), resource),))


def span(whose: str, name: str, begin: datetime, end: datetime, error: str = "", **attributes: str) -> Traces:
    """A span of the board's trace in the rollout; `attributes` without their prefix `edgesync.`."""
    own = trace.board_trace(ROLLOUT, DeviceId(whose))
    made = Span(
        bytes.fromhex(own),
        bytes.fromhex(trace.span_id(own, name, nano(begin))),
        name,
        nano(begin),
        nano(end),
        attributes={f"edgesync.{key}": value for key, value in {"rollout": ROLLOUT, **attributes}.items()},
        code=SpanCode.ERROR if error else SpanCode.UNSET,
        message=error,
    )
    return Traces((ResourceSpans((ScopeSpans((made,)),), Resource({"edgesync.device": whose})),))


def board(device: str, error: str = "", *, at: datetime = BEGIN, release: str = "2") -> Traces:
    """The server's span of a board's part in the rollout, five minutes long."""
    status = "failed" if error else "confirmed"
    return span(device, "board", at, at + 5 * MINUTE, error, device=device, status=status, release=release, wave="w")


def said(device: str, told: Mapping[datetime, tuple[int, str]]) -> Logs:
    """What a board said: severity number and text by time."""
    records = tuple(LogRecord(nano(at), text, severity=severity) for at, (severity, text) in told.items())
    return Logs((ResourceLogs((ScopeLogs(records),), Resource({"edgesync.device": device})),))
