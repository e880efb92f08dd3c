"""What links carry: bytes by purpose, what a month of them comes to, against the budget and in money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collector_ext.analysis.finding import NOTHING, Finding
from collector_ext.lake.reader import Lake

LINK_IO = "edgesync.link.io"
"""Bytes at IP level both ways, by the attribute `purpose`: what the agent tells (its `readings`)."""
MONTH = 30 * 86400.0
"""Seconds that a month is reckoned with."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a month of one board costs: `base` with `included_mb`, then `per_mb` for each MB more."""

    base: float
    included_mb: float
    per_mb: float


_BY_PURPOSE = """
SELECT device, attributes->>'$.purpose' AS purpose, sum(value) / 1e6 AS megabytes FROM metrics
WHERE metric = $link AND kind = 'delta' AND time > $begin AND time <= $end GROUP BY ALL
"""
_OVER_TIME = """
SELECT time_bucket(INTERVAL 1 HOUR, time) AS time, attributes->>'$.purpose' AS purpose, sum(value) / 1e6 AS megabytes
FROM metrics WHERE metric = $link AND kind = 'delta' AND time > $begin AND time <= $end
AND ($device = '' OR device = $device) GROUP BY ALL ORDER BY time
"""


def by_purpose(lake: Lake, begin: datetime, end: datetime) -> Any:
    """MB, a row a board and a column a purpose, the most expensive board first. Times are UTC and naive."""
    frame = lake.frame(_BY_PURPOSE, {"link": LINK_IO, "begin": begin, "end": end})
    table = frame.pivot_table(index="device", columns="purpose", values="megabytes", fill_value=0.0)
    return table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def over_time(lake: Lake, begin: datetime, end: datetime, device: str = "") -> Any:
    """MB an hour, a column a purpose: of one board, or of the fleet."""
    parameters = {"link": LINK_IO, "begin": begin, "end": end, "device": device}
    return lake.frame(_OVER_TIME, parameters).pivot_table(
        index="time", columns="purpose", values="megabytes", fill_value=0.0
    )


def bill(table: Any, seconds: float, budget_mb: float, tariff: Tariff) -> Any:
    """What `by_purpose` of so many seconds comes to in a month: MB, the part of the budget, the price."""
    month = table.sum(axis=1) * MONTH / seconds
    return month.to_frame("mb_a_month").assign(
        of_budget=month / budget_mb, price=tariff.base + (month - tariff.included_mb).clip(lower=0) * tariff.per_mb
    )


def cause(table: Any, bill: Any) -> Finding:
    """Who is over the budget the most, and the purpose in which it exceeds the fleet's median the most."""
    if table.empty or bill.of_budget.max() <= 1:
        return NOTHING
    device = bill.of_budget.idxmax()
    excess = table.loc[device] - table.median()
    purpose = str(excess.idxmax())
    told = f"{excess[purpose]:.1f} MB more than the median board, {bill.of_budget[device]:.1f} times the budget"
    return Finding(str(device), purpose, told)
