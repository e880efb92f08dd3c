"""Rows for the lake, and a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa

from collector_ext.lake.reader import Lake
from collector_ext.lake.schema import METRICS

START = datetime(2026, 3, 1, 10, 15, tzinfo=timezone.utc).timestamp()
HOUR = 3600.0


@dataclass
class Clock:
    """Seconds, as `edgesync.host.clock.Clock` gives them."""

    now: float = START

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def metrics(values: Sequence[float], device: str = "acme.b1", start: float = START) -> pa.RecordBatch:
    """A batch of one series, a value a second."""
    count = len(values)
    times = [datetime.fromtimestamp(start + n, timezone.utc).replace(tzinfo=None) for n in range(count)]
    columns = {
        "time": times,
        "device": [device] * count,
        "metric": ["m"] * count,
        "unit": ["By"] * count,
        "kind": ["gauge"] * count,
        "attributes": ["{}"] * count,
        "resource": ["{}"] * count,
        "value": [float(value) for value in values],
    }
    return pa.RecordBatch.from_pydict(columns, schema=METRICS.schema)


def values(directory: Path) -> list[float]:
    """Every value that the lake's reader sees."""
    with Lake(directory) as lake:
        return sorted(value for (value,) in lake.rows("SELECT value FROM metrics"))


def numbers(found: Iterable[float]) -> list[int]:
    return [int(value) for value in found]
