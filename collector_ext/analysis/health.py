"""How the fleet is at one moment: each board's last numbers, and what is wrong with whom, the worst first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from collector_ext.analysis.finding import NOTHING, Finding
from collector_ext.lake.reader import Lake
from collector_ext.receiver.hostmetrics import names
from edgesync.wire.errors import ConfigError

SILENT_AFTER = 1800.0
"""Seconds without a word: six of the boards' usual intervals."""
SHORT_OF_MEMORY = 0.15
"""Of the memory that a board has; less than this part available is short."""
LOSSY = 0.1
"""Part of the TCP segments of the last hour that were sent again; more is a bad link."""

_STATE = """
WITH heard AS (
  SELECT device, max(time) AS last_heard FROM metrics WHERE time <= $now GROUP BY device
), memory AS (
  SELECT device, arg_max(value, time) FILTER (metric = $available) AS available,
         arg_max(value, time) FILTER (metric = $limit) AS total
  FROM metrics WHERE metric IN ($available, $limit) AND time <= $now GROUP BY device
), tcp AS (
  SELECT device, sum(value) FILTER (metric = $again) / nullif(sum(value) FILTER (metric = $segments), 0) AS sent_again
  FROM metrics WHERE metric IN ($again, $segments) AND kind = 'delta'
  AND time > $now - INTERVAL 1 HOUR AND time <= $now GROUP BY device
), updates AS (
  SELECT attributes->>'$."edgesync.device"' AS device,
         arg_max(attributes->>'$."edgesync.release"', t."end") FILTER (status <> 'error') AS release,
         arg_max(message, t."end") AS update_error
  FROM traces t WHERE name = 'board' AND t."end" <= $now GROUP BY 1
)
SELECT device, coalesce(release, '') AS release, last_heard, epoch($now - last_heard) / 60 AS silent_minutes,
       available / 1048576 AS available_mib, available / total AS available_part,
       coalesce(sent_again, 0) AS sent_again, coalesce(update_error, '') AS update_error
FROM heard LEFT JOIN memory USING (device) LEFT JOIN tcp USING (device) LEFT JOIN updates USING (device)
"""
_ORDER = ("silent", "short of memory", "update failed", "bad link", "")


def newest(lake: Lake) -> datetime:
    """The moment (UTC, naive) of the newest number in the lake. Raises ConfigError for an empty lake."""
    ((moment,),) = lake.rows("SELECT max(time) FROM metrics")
    if not isinstance(moment, datetime):
        raise ConfigError(f"{lake.directory}: no metrics, expected a lake that a collector has written to")
    return moment


def now(lake: Lake, moment: datetime | None = None) -> Any:
    """A row a board, the worst first: `trouble` is "silent", "short of memory", "update failed", "bad link" or "".
    `moment` is UTC and naive; without one it is the newest in the lake.
    """
    parameters = {
        "now": moment or newest(lake),
        "available": names.MEMORY_AVAILABLE,
        "limit": names.MEMORY_LIMIT,
        "again": names.TCP_RETRANSMITTED,
        "segments": names.TCP_SEGMENTS,
    }
    frame = lake.frame(_STATE, parameters)
    frame.insert(1, "trouble", [_trouble(row) for row in frame.to_dict("records")])
    rank = frame["trouble"].map(_ORDER.index)
    return frame.assign(rank=rank).sort_values(["rank", "device"]).drop(columns="rank").set_index("device")


def worst(frame: Any) -> Finding:
    """Who needs somebody first."""
    if frame.empty or not frame["trouble"].iloc[0]:
        return NOTHING
    row = frame.iloc[0]
    told = {
        "silent": f"last heard {row.last_heard:%Y-%m-%d %H:%M} UTC, {row.silent_minutes:.0f} minutes ago",
        "short of memory": f"{row.available_mib:.0f} MiB available, {row.available_part:.0%} of what it has",
        "update failed": row.update_error,
        "bad link": f"{row.sent_again:.0%} of the segments of the last hour sent again",
    }
    return Finding(str(row.name), row.trouble, told[row.trouble])


def _trouble(row: dict[str, Any]) -> str:
    if row["silent_minutes"] * 60 > SILENT_AFTER:
        return "silent"
    if row["available_part"] < SHORT_OF_MEMORY:
        return "short of memory"
    if row["update_error"]:
        return "update failed"
    return "bad link" if row["sent_again"] > LOSSY else ""
