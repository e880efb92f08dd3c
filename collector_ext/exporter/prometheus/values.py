"""A point of OTLP as what Prometheus keeps of a series: a number, cumulative buckets, or quantiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from collector_ext.pdata import (
    ExponentialHistogram,
    ExponentialPoint,
    Gauge,
    Histogram,
    HistogramPoint,
    Metric,
    NumberPoint,
    Sum,
    Summary,
    SummaryPoint,
    Temporality,
)
from collector_ext.textformat import number

Line = tuple[str, str, float]
"""What is behind the metric's name, one more label, the value."""
Point = NumberPoint | HistogramPoint | ExponentialPoint | SummaryPoint


class Reason(Enum):
    """Why a point is not on the page."""

    SERIES = "limits::series"
    TARGET_SERIES = "limits::target_series"
    METRIC_SERIES = "limits::metric_series"
    LABEL_BYTES = "limits::label_bytes"
    SIZE = "limits::size_mib"
    CONFLICT = "another metric has this name, or one of its series'"
    TEMPORALITY = "a delta that can fall, or no temporality"
    MALFORMED = "no name, no number, or buckets that do not fit their bounds"
    OLD = "older than what is there, or told again"


class RefusedError(Exception):
    """A point that is dropped."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Number:
    value: float

    def __len__(self) -> int:
        """Series, as Prometheus counts."""
        return 1

    def plus(self, more: Value) -> Value:
        """After a delta. One of another shape begins anew."""
        return Number(self.value + more.value) if isinstance(more, Number) else more

    def lines(self) -> Iterator[Line]:
        yield "", "", self.value


@dataclass(frozen=True, slots=True)
class Distribution:
    """`counts` of single buckets, one more than `bounds`. A `sum` of None is none that only grows."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float | None

    def __len__(self) -> int:
        return len(self.counts) + 1 + (self.sum is not None)

    def plus(self, more: Value) -> Value:
        if not isinstance(more, Distribution) or more.bounds != self.bounds:
            return more
        counts = tuple(a + b for a, b in zip(self.counts, more.counts, strict=True))
        return Distribution(self.bounds, counts, None if self.sum is None or more.sum is None else self.sum + more.sum)

    def lines(self) -> Iterator[Line]:
        below = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            below += count
            yield "_bucket", f'le="{number(bound)}"', below
        if self.sum is not None:
            yield "_sum", "", self.sum
        yield "_count", "", below


@dataclass(frozen=True, slots=True)
class Quantiles:
    quantiles: tuple[tuple[float, float], ...]
    sum: float
    count: int

    def __len__(self) -> int:
        return len(self.quantiles) + 2

    def plus(self, more: Value) -> Value:
        """There are no deltas of summaries."""
        return more

    def lines(self) -> Iterator[Line]:
        for quantile, value in self.quantiles:
            yield "", f'quantile="{number(quantile)}"', value
        yield "_sum", "", self.sum
        yield "_count", "", self.count


Value = Number | Distribution | Quantiles

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
"""Behind the names of a kind's series; the other kinds have none."""


def type_of(metric: Metric) -> str:
    """Prometheus' type. Raises RefusedError for what has none there."""
    match metric.data:
        case Gauge():
            return "untyped" if metric.metadata.get("prometheus.type") == "unknown" else "gauge"
        case Sum(temporality=Temporality.UNSPECIFIED) | Sum(temporality=Temporality.DELTA, monotonic=False):
            raise RefusedError(Reason.TEMPORALITY)
        case Sum():
            return "counter" if metric.data.monotonic else "gauge"
        case Histogram(temporality=Temporality.UNSPECIFIED) | ExponentialHistogram(temporality=Temporality.UNSPECIFIED):
            raise RefusedError(Reason.TEMPORALITY)
        case Histogram() | ExponentialHistogram():
            return "histogram"
        case Summary():
            return "summary"
    raise RefusedError(Reason.MALFORMED)


def value_of(point: Point, *, delta: bool) -> Value:
    """Raises RefusedError. The text format has no exponential buckets: of such a point stay count and sum."""
    match point:
        case NumberPoint(value=int() | float() as value):
            if delta and not 0 <= value < math.inf:
                raise RefusedError(Reason.MALFORMED)
            return Number(value)
        case HistogramPoint():
            return _distribution(point)
        case ExponentialPoint(count=count, negative=negative):
            falls = negative is not None and any(negative.counts)
            return Distribution((), (count,), None if falls else point.sum)
        case SummaryPoint(quantiles=quantiles):
            kept = {quantile: value for quantile, value in quantiles if 0 <= quantile <= 1}
            return Quantiles(tuple(sorted(kept.items())), point.sum, point.count)
    raise RefusedError(Reason.MALFORMED)


def _distribution(point: HistogramPoint) -> Distribution:
    """Its count is that of its buckets, where it has any. The sum is told while no bucket is for negative values only,
    for a sum that falls looks like a counter that began anew.
    """
    bounds, counts = point.bounds, point.counts or (point.count,)
    if bounds and bounds[-1] == math.inf:  # what is between two infinities is nothing
        bounds, counts = bounds[:-1], (*counts[:-2], sum(counts[-2:]))
    if len(counts) != len(bounds) + 1 or any(not a < b for a, b in pairwise((*bounds, math.inf))):
        raise RefusedError(Reason.MALFORMED)
    return Distribution(bounds, counts, None if bounds and bounds[0] < 0 else point.sum)
