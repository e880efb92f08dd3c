"""One incident across everything that was told: each signal's beginning, so that the first names the cause.

A signal begins at the first of two readings in a row that are far from what they were in the hours before: by more than
six times the usual spread (median absolute deviation), and by more than a floor that keeps quiet signals quiet.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from collector_ext.analysis.finding import NOTHING, Finding
from collector_ext.lake.reader import Lake
from collector_ext.receiver.hostmetrics import names

BEFORE = timedelta(hours=3)
"""What stands for usual."""
SPREADS = 6.0
SIGNALS = {
    "segments sent again": ("%", 3.0),
    "round trip": ("s", 0.3),
    "memory in use": ("%", 5.0),
    "tasks waiting for memory": ("%", 5.0),
}
"""Of metrics: unit, and the floor in it."""
WARN = 13
"""OpenTelemetry's severity number from which a record is a warning."""

_NUMBERS = """
SELECT time,
  100 * sum(value) FILTER (metric = $again) / nullif(sum(value) FILTER (metric = $segments), 0)
    AS "segments sent again",
  max(value) FILTER (metric = $trip) AS "round trip",
  100 * max(value) FILTER (metric = $used) AS "memory in use",
  100 * max(value) FILTER (metric = $pressure) AS "tasks waiting for memory"
FROM metrics WHERE device = $device AND time BETWEEN $begin AND $end
AND metric IN ($again, $segments, $trip, $used, $pressure) GROUP BY time ORDER BY time
"""
_LOGS = """
SELECT time, severity, severity_number, body FROM logs
WHERE device = $device AND time BETWEEN $begin AND $end ORDER BY time
"""
_SPANS = """
SELECT time AS start, t."end" AS "end", name AS phase, message AS error FROM traces t
WHERE device = $device AND time <= $end AND t."end" >= $begin ORDER BY start, "end" DESC
"""
_CAUSES = {
    "segments sent again": "link",
    "round trip": "link",
    "memory in use": "memory",
    "tasks waiting for memory": "memory",
    "log": "software",
    "update": "update",
}


def numbers(lake: Lake, device: str, begin: datetime, end: datetime) -> Any:
    """The signals over time, a column each. Times are UTC and naive here and below."""
    parameters = {
        "again": names.TCP_RETRANSMITTED,
        "segments": names.TCP_SEGMENTS,
        "trip": names.TCP_ROUND_TRIP,
        "used": names.MEMORY_UTILIZATION,
        "pressure": names.PRESSURE,
    }
    return lake.frame(_NUMBERS, {**parameters, "device": device, "begin": begin, "end": end}).set_index("time")


def logs(lake: Lake, device: str, begin: datetime, end: datetime) -> Any:
    """What the board said."""
    return lake.frame(_LOGS, {"device": device, "begin": begin, "end": end})


def spans(lake: Lake, device: str, begin: datetime, end: datetime) -> Any:
    """What the board was doing for rollouts."""
    return lake.frame(_SPANS, {"device": device, "begin": begin, "end": end})


def beginnings(lake: Lake, device: str, begin: datetime, end: datetime) -> Any:
    """What left its usual course between the two moments, a row a signal, the first one first."""
    found = []
    table = numbers(lake, device, begin - BEFORE, end)
    for signal, (unit, floor) in SIGNALS.items():
        column = table[signal].dropna()
        usual = column[column.index < begin]
        if usual.empty:
            continue
        middle = usual.median()
        far = max(floor, SPREADS * (usual - middle).abs().median())
        away = (column[column.index >= begin] - middle).abs() > far
        twice = away & away.shift(-1, fill_value=False)
        if twice.any():
            at = twice.idxmax()
            found.append((at, signal, f"{column[at]:.2f} {unit}, usually {middle:.2f} {unit}"))
    said = logs(lake, device, begin, end)
    if len(bad := said[said.severity_number >= WARN]):
        found.append((bad.time.iloc[0], "log", bad.body.iloc[0]))
    done = spans(lake, device, begin, end)
    if len(broken := done[(done.error != "") & (done["end"] >= begin)]):
        first = broken.sort_values("end").iloc[0]
        found.append((first["end"], "update", f"{first.phase}: {first.error}"))
    return _frame(sorted(found))


def cause(device: str, table: Any) -> Finding:
    """The first that left its course: "link", "memory", "software" (a warning came first) or "update"."""
    if table.empty:
        return NOTHING
    first = table.iloc[0]
    return Finding(device, _CAUSES[first.signal], f"{first.signal} from {first.time:%H:%M} UTC: {first.value}")


def _frame(rows: list[tuple[Any, ...]]) -> Any:
    import pandas as pd  # noqa: PLC0415 - heavy, and there already once a frame was made

    return pd.DataFrame(rows, columns=["time", "signal", "value"])
