"""What the collector and its components count about themselves, and its text form for Prometheus.

Names follow the Collector's (`otelcol_...`) where it has one. Series are bounded: a label explosion costs its own
metric and is counted, never the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from collector_ext.textformat import head, inside, line

SERIES_LIMIT = 500
"""Series of one metric."""
DROPPED = "collector_selfmetrics_dropped_series"

QUEUE_BYTES, QUEUE_DROPPED = "collector_queue_bytes", "collector_queue_dropped"
"""What whoever keeps data in a queue sets and counts: see `queue_bytes`, `queue_dropped`."""

_Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Instrument:
    """One metric. Counters count up from the start of the process; gauges are set."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    series: dict[_Labels, float] = field(default_factory=dict)
    dropped: int = 0

    def add(self, value: float, **labels: str) -> None:
        self._put(labels, value, add=True)

    def set(self, value: float, **labels: str) -> None:
        self._put(labels, value, add=False)

    def clear(self) -> None:
        """Forget all series, for a gauge whose labels come and go."""
        self.series.clear()

    def _put(self, labels: dict[str, str], value: float, *, add: bool) -> None:
        key = tuple(sorted(labels.items()))
        if key not in self.series and len(self.series) >= SERIES_LIMIT:
            self.dropped += 1
            return
        self.series[key] = self.series.get(key, 0.0) + value if add else value


class Meter:
    """All instruments of one collector. `observe(function)` registers what is read at the moment of a scrape."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument] = {}
        self._observers: list[Callable[[], None]] = []

    def counter(self, name: str, text: str) -> Instrument:
        return self._instrument(name, "counter", text)

    def gauge(self, name: str, text: str) -> Instrument:
        return self._instrument(name, "gauge", text)

    def total(self, name: str) -> float:
        """Of a metric's series as they are now, 0 for a metric that is not there."""
        instrument = self._instruments.get(name)
        return sum(instrument.series.values()) if instrument else 0.0

    def observe(self, function: Callable[[], None]) -> None:
        self._observers.append(function)

    def exposition(self) -> bytes:
        """Prometheus' text format 0.0.4."""
        for function in self._observers:
            function()
        return "".join(self._lines()).encode()

    def _instrument(self, name: str, kind: Literal["counter", "gauge"], text: str) -> Instrument:
        """The one of this name: several instances of a component share it."""
        instrument = self._instruments.setdefault(name, Instrument(name, kind, text))
        if instrument.kind != kind:
            raise ValueError(f"{name} is a {instrument.kind} and a {kind}")
        return instrument

    def _lines(self) -> Iterator[str]:
        for name, instrument in sorted(self._instruments.items()):
            yield head(name, instrument.kind, instrument.help)
            for labels, value in sorted(instrument.series.items()):
                yield line(name, inside(labels), value)
        dropped = {name: one.dropped for name, one in self._instruments.items() if one.dropped}
        if dropped:
            yield head(DROPPED, "counter", f"Measurements beyond {SERIES_LIMIT} series of a metric")
            for name, count in sorted(dropped.items()):
                yield line(DROPPED, inside([("metric", name)]), count)


def queue_bytes(meter: Meter) -> Instrument:
    """Set with the label `queue`: the component's id."""
    return meter.gauge(QUEUE_BYTES, "Bytes that wait in queues, by queue")


def queue_dropped(meter: Meter) -> Instrument:
    """Counts batches, with the label `queue`."""
    return meter.counter(QUEUE_DROPPED, "What was dropped from queues, by queue")
