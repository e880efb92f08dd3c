"""The newest value of every series, within limits, and the page that shows them.

A point that would exceed a limit is refused; what is there already stays, and goes on being renewed. A series that
nothing renews for the expiration is forgotten, and with its last series a metric and a target. Deltas are added up; one
that was told before is not added again, and one that is missing is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from collector_ext.exporter.prometheus.config import PrometheusConfig
from collector_ext.exporter.prometheus.labels import Labeller, target
from collector_ext.exporter.prometheus.limits import Room, Target, weigh
from collector_ext.exporter.prometheus.names import metric_name
from collector_ext.exporter.prometheus.values import SUFFIXES, Point, Reason, RefusedError, Value, type_of, value_of
from collector_ext.pdata import Gauge, Metric, ResourceMetrics, Temporality
from collector_ext.textformat import head, line

HELP_LIMIT = 500
"""Characters of a metric's description."""
NO_VALUE = 1
"""OTLP's flag of a point that says that there is nothing more to read of its series."""
MILLI = 1_000_000

Refused = Counter[tuple[Reason, str]]
"""How many points were not taken, by reason and metric."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A metric as Prometheus names it."""

    name: str
    type: str
    help: str
    delta: bool

    @property
    def heading(self) -> int:
        """Bytes of what stands before its series."""
        return len(head(self.name, self.type, self.help).encode("utf-8", "replace"))

    def names(self) -> list[str]:
        """What its lines begin with, its own name first."""
        return list(dict.fromkeys([self.name, *(self.name + suffix for suffix in SUFFIXES.get(self.type, ()))]))


@dataclass(slots=True)
class _Series:
    """`time` is the newest point's, in nanoseconds; `weight` that of one line."""

    who: Target
    weight: int
    value: Value
    time: int
    delta: bool
    renewed: float


@dataclass(slots=True)
class _Family:
    """All series of one metric, by their labels."""

    kind: _Kind
    series: dict[str, _Series] = field(default_factory=dict)


class Store:
    """Of one page. `now` is in seconds of a clock that never goes back."""

    def __init__(self, config: PrometheusConfig) -> None:
        self._config, self._labeller, self._room = config, Labeller(config), Room(config.limits)
        self._info = "_".join(filter(None, (config.namespace, "target_info")))
        self._info_head = head(self._info, "gauge", "What is known of a target")
        self._targets: dict[tuple[str, str], Target] = {}
        self._families: dict[str, _Family] = {}
        self._taken = {self._info}
        """What lines begin with, of all metrics: no two may give the same series."""

    @property
    def series(self) -> int:
        return self._room.series

    @property
    def size(self) -> int:
        """Bytes of the page, at most."""
        return self._room.size

    def put(self, data: ResourceMetrics, now: float) -> Refused:
        """What was not taken."""
        refused: Refused = Counter()
        key = target(data.resource)
        who = self._targets.get(key) or Target()
        try:
            self._tell(who, self._labeller.info(data.resource))
        except RefusedError as error:
            refused[error.reason, self._info] += 1
        for scope in data.scopes:
            for metric in scope.metrics:
                points: tuple[Point, ...] = metric.data.points if metric.data else ()
                try:
                    kind, fixed = self._kind(metric), self._labeller.fixed(data.resource, scope)
                except RefusedError as error:
                    refused[error.reason, metric.name] += len(points)
                    continue
                for point in points:
                    try:
                        labels = self._labeller.series(fixed, point.attributes, data.resource)
                        self._take(kind, labels, point, who, now)
                    except RefusedError as error:
                        refused[error.reason, metric.name] += 1
        if who.series:  # who has none is not remembered
            self._targets[key], who.renewed = who, now
        return +refused  # without those metrics that had no points

    def expire(self, now: float) -> None:
        """Forget what was not renewed in time."""
        since = now - self._config.metric_expiration
        for family in list(self._families.values()):
            for labels, series in list(family.series.items()):
                if series.renewed < since:
                    self._remove(family, labels)
        for key, who in list(self._targets.items()):
            if who.renewed < since:
                self._tell(who, "")
                del self._targets[key]

    def page(self) -> bytes:
        """In text format 0.0.4."""
        told = [who.info for who in self._targets.values() if who.info]
        info = [self._info_head] if told else []
        pages: list[Iterable[str]] = [info, (line(self._info, labels, 1) for labels in told)]
        pages += (self._lines(family) for _, family in sorted(self._families.items()))
        return b"".join("".join(one).encode("utf-8", "replace") for one in pages)

    def _lines(self, family: _Family) -> Iterator[str]:
        name = family.kind.name
        yield head(name, family.kind.type, family.kind.help)
        for labels, series in family.series.items():
            end = f" {series.time // MILLI}" if self._config.send_timestamps and series.time else ""
            for suffix, more, value in series.value.lines():
                yield line(name + suffix, f"{labels},{more}" if labels and more else labels or more, value, end)

    def _kind(self, metric: Metric) -> _Kind:
        """Raises RefusedError."""
        if len(metric.name) + len(metric.unit) > self._config.limits.label_bytes:
            raise RefusedError(Reason.LABEL_BYTES)
        name = metric_name(
            metric.name,
            metric.unit,
            total=(type_ := type_of(metric)) == "counter",
            gauge=isinstance(metric.data, Gauge),
            suffixes=self._config.add_metric_suffixes,
            namespace=self._config.namespace,
        )
        if not name:
            raise RefusedError(Reason.MALFORMED)
        delta = getattr(metric.data, "temporality", None) is Temporality.DELTA
        return _Kind(name, type_, metric.description[:HELP_LIMIT], delta)

    def _take(self, kind: _Kind, labels: str, point: Point, who: Target, now: float) -> None:
        """Raises RefusedError."""
        family = self._families.get(kind.name)
        if family.kind.type != kind.type if family else not self._taken.isdisjoint(kind.names()):
            raise RefusedError(Reason.CONFLICT)
        before = family.series.get(labels) if family else None
        if point.flags & NO_VALUE:
            if family and before:
                self._remove(family, labels)
            return
        value = value_of(point, delta=kind.delta)
        if before is None:
            weight = weigh(kind.name, labels)
            self._room.take(who, kind.name, len(value), weight, 0 if family else kind.heading)
            if family is None:
                family = self._families[kind.name] = _Family(kind)
                self._taken.update(kind.names())
            family.series[labels] = _Series(who, weight, value, point.time, kind.delta, now)
            return
        if kind.delta and before.delta:
            # What begins before the last one ended was told again; what begins later is added all the same.
            if point.time <= before.time or 0 < point.start < before.time:
                raise RefusedError(Reason.OLD)
            value = before.value.plus(value)
        elif point.time < before.time:
            raise RefusedError(Reason.OLD)
        self._room.take(who, kind.name, len(value) - len(before.value), before.weight)
        before.value, before.time, before.delta, before.renewed = value, point.time, kind.delta, now

    def _tell(self, who: Target, info: str) -> None:
        """Raises RefusedError: then nothing is told of it."""
        if info == who.info:
            return
        if who.info:
            self._room.take(who, self._info, -1, weigh(self._info, who.info))
        who.info = ""
        if info:
            self._room.take(who, self._info, 1, weigh(self._info, info))
            who.info = info

    def _remove(self, family: _Family, labels: str) -> None:
        series = family.series.pop(labels)
        heading = 0 if family.series else -family.kind.heading
        self._room.take(series.who, family.kind.name, -len(series.value), series.weight, heading)
        if not family.series:
            del self._families[family.kind.name]
            self._taken.difference_update(family.kind.names())
