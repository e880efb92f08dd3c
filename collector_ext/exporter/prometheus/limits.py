"""What is left of the limits, for all and for each target. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from collector_ext.exporter.prometheus.config import LimitsConfig
from collector_ext.exporter.prometheus.values import Reason, RefusedError
from collector_ext.settings.sizes import MIB

VALUE_BYTES = 80
"""What a line of the page has at most besides name and labels: a suffix, one more label, the value, a time."""


@dataclass(slots=True)
class Target:
    """Whoever a job and an instance are. `series` are its own on the page, `metrics` the same by metric; `info` is what
    `target_info` says of it; `renewed` is when something last came from it.
    """

    series: int = 0
    metrics: Counter[str] = field(default_factory=Counter)
    info: str = ""
    renewed: float = 0.0


class Room:
    """Counts series as Prometheus does, and the bytes of the page."""

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits = limits
        self.series, self.size = 0, 0

    def take(self, who: Target, metric: str, series: int, weight: int, heading: int = 0) -> None:
        """For so many more lines of `weight` bytes without their values, and for bytes of a heading; negative numbers
        give back. Raises RefusedError, and has taken nothing then.
        """
        size = series * (weight + VALUE_BYTES) + heading
        if series > 0:
            if weight > self._limits.label_bytes:
                raise RefusedError(Reason.LABEL_BYTES)
            if who.metrics[metric] + series > self._limits.metric_series:
                raise RefusedError(Reason.METRIC_SERIES)
            if who.series + series > self._limits.target_series:
                raise RefusedError(Reason.TARGET_SERIES)
            if self.series + series > self._limits.series:
                raise RefusedError(Reason.SERIES)
            if self.size + size > self._limits.size_mib * MIB:
                raise RefusedError(Reason.SIZE)
        who.series += series
        who.metrics[metric] += series
        if not who.metrics[metric]:
            del who.metrics[metric]
        self.series += series
        self.size += size


def weigh(name: str, labels: str) -> int:
    """Bytes of a line without its value."""
    return len(name) + (len(labels) if labels.isascii() else len(labels.encode("utf-8", "replace")))
