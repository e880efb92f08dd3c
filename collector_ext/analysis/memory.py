"""Memory over time: trends of what is available, who runs out when, and whether a release is to blame.

A straight line through the window is fitted to each board in DuckDB. A leak is a line that falls and that explains most
of what is seen: the day's ups and downs alone do not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from collector_ext.analysis.finding import NOTHING, Finding, so_many
from collector_ext.lake.reader import Lake
from collector_ext.receiver.hostmetrics import names
from collector_ext.settings.sizes import MIB

FALLING = -3.0
"""MiB an hour: less is not called a leak."""
STRAIGHT = 0.9
"""The part of the variance that the line explains (R squared) in a leak."""

_TRENDS = f"""
WITH line AS (
  SELECT device, regr_slope(value, epoch(time)) * 3600 / {MIB} AS mib_per_hour,
         regr_r2(value, epoch(time)) AS straight, arg_max(value, time) / {MIB} AS available_mib, max(time) AS last
  FROM metrics WHERE metric = $available AND time BETWEEN $begin AND $end GROUP BY device HAVING count(*) > 2
), canaries AS (
  SELECT DISTINCT attributes->>'$."edgesync.device"' AS device FROM traces
  WHERE name = 'board' AND attributes->>'$."edgesync.rollout"' = $rollout AND status <> 'error'
)
SELECT device, CASE WHEN canaries.device IS NULL THEN 'control' ELSE 'canary' END AS part,
       available_mib, mib_per_hour, straight, last
FROM line LEFT JOIN canaries USING (device) ORDER BY mib_per_hour, device
"""  # noqa: S608 - a number of ours
_SERIES = f"""
SELECT time_bucket(INTERVAL 15 MINUTE, time) AS time, device, avg(value) / {MIB} AS available_mib
FROM metrics WHERE metric = $available AND time BETWEEN $begin AND $end GROUP BY ALL ORDER BY time
"""  # noqa: S608 - a number of ours


def available(lake: Lake, begin: datetime, end: datetime) -> Any:
    """MiB available, a column a board, a row each quarter of an hour. Times are UTC and naive here and below."""
    parameters = {"available": names.MEMORY_AVAILABLE, "begin": begin, "end": end}
    return lake.frame(_SERIES, parameters).pivot_table(index="time", columns="device", values="available_mib")


def trends(lake: Lake, rollout: str, begin: datetime, end: datetime) -> Any:
    """A row a board, the steepest fall first: canary (it runs what `rollout` brought) or control, the line's slope, and
    for a leak the moment when nothing is left (`out_at`, else NaT).
    """
    parameters = {"available": names.MEMORY_AVAILABLE, "rollout": rollout, "begin": begin, "end": end}
    frame = lake.frame(_TRENDS, parameters).set_index("device")
    frame["leaks"] = (frame.mib_per_hour < FALLING) & (frame.straight > STRAIGHT)
    hours = (frame.available_mib / -frame.mib_per_hour).where(frame.leaks)
    frame["out_at"] = frame["last"] + hours.astype("float64").mul(3600e9).astype("timedelta64[ns]")
    return frame.drop(columns="last")


def cause(frame: Any, rollout: str) -> Finding:
    """It is "a release leaks" when all canaries and no control board leak, "boards leak" when it is any others."""
    leaks = frame[frame.leaks]
    if leaks.empty:
        return NOTHING
    out = f"the first out at {leaks.out_at.min():%Y-%m-%d %H:%M} UTC"
    slope = f"{leaks.mib_per_hour.median():.1f} MiB/h on {so_many(len(leaks))}, {out}"
    canaries = frame[frame.part == "canary"]
    if len(canaries) and canaries.leaks.all() and len(leaks) == len(canaries):
        control = frame[frame.part == "control"].mib_per_hour.median()
        return Finding(rollout, "a release leaks", f"{slope}; control {control:+.1f} MiB/h")
    return Finding(", ".join(leaks.index), "boards leak", slope)
