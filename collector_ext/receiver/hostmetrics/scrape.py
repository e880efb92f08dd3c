"""One look at the machine as metrics. `Counters` turns what counts up into what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from collector_ext.pdata import Gauge, Metric, NumberPoint, Sum, Temporality
from collector_ext.receiver.hostmetrics import names
from edgesync.host import proc, sockdiag, system

Points = Iterable[tuple[Mapping[str, str], int | float]]
"""(attributes, value) of each series."""
NANO = 1_000_000_000
_Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """Directories, so that a test brings its own."""

    proc: str = "/proc"
    sys: str = "/sys"


class Counters:
    """Totals since the boot as they are, or as differences to the last reading that was `taken`: of the first there is
    none, and a total that fell began anew.
    """

    def __init__(self, kind: Literal["cumulative", "delta"], boot: int) -> None:
        self._kind, self._boot = kind, boot
        self._before: dict[_Series, tuple[int, int | float]] = {}
        self._now: dict[_Series, tuple[int, int | float]] = {}

    def taken(self) -> None:
        """The last reading has arrived: the next one counts from it on."""
        self._before.update(self._now)
        self._now.clear()

    def metric(self, name: str, unit: str, points: Points, now: int) -> Metric:
        """A monotonic sum; `now` in nanoseconds since 1970."""
        if self._kind == "cumulative":
            made = tuple(NumberPoint(now, value, attributes, self._boot) for attributes, value in points)
            return Metric(name, Sum(made, Temporality.CUMULATIVE, monotonic=True), unit)
        differences = tuple(self._differences(name, points, now))
        return Metric(name, Sum(differences, Temporality.DELTA, monotonic=True), unit)

    def _differences(self, name: str, points: Points, now: int) -> Iterator[NumberPoint]:
        for attributes, value in points:
            key = name, tuple(sorted(attributes.items()))
            before = self._before.get(key)
            self._now[key] = now, value
            if before:
                start, last = before
                grown = value - last if value >= last else value
                # The noise of binary fractions costs bytes and says nothing.
                yield NumberPoint(now, grown if isinstance(grown, int) else round(grown, 6), attributes, start)


def gauge(name: str, unit: str, points: Points, now: int) -> Metric:
    return Metric(name, Gauge(tuple(NumberPoint(now, value, attributes) for attributes, value in points)), unit)


def level(name: str, unit: str, points: Points, now: int, boot: int) -> Metric:
    """An amount that goes up and down and adds up over its attributes."""
    made = tuple(NumberPoint(now, value, attributes, boot) for attributes, value in points)
    return Metric(name, Sum(made, Temporality.CUMULATIVE, monotonic=False), unit)


def memory(place: Place, counters: Counters, now: int, boot: int) -> Iterator[Metric]:
    found, faults = proc.memory(place.proc), proc.faults(place.proc)
    if found:
        used = found.total - found.available
        states = {"used": used, "free": found.available}
        by_state = [({names.MEMORY_STATE: state}, value) for state, value in states.items()]
        yield level(names.MEMORY_USAGE, "By", by_state, now, boot)
        yield level(names.MEMORY_LIMIT, "By", [({}, found.total)], now, boot)
        yield level(names.MEMORY_AVAILABLE, "By", [({}, found.available)], now, boot)
        yield gauge(names.MEMORY_UTILIZATION, "1", [({}, round(used / found.total, 4))], now)
    if faults:
        yield counters.metric(names.OOM_KILLS, "{process}", [({}, faults.oom_kills)], now)
    if pressure := proc.pressure(f"{place.proc}/pressure/memory"):
        parts = {"some": pressure.some60 / 100, "full": pressure.full60 / 100}
        yield gauge(names.PRESSURE, "1", [({"tasks": tasks}, round(part, 4)) for tasks, part in parts.items()], now)
        waited = {"some": pressure.some_total / 1e6, "full": pressure.full_total / 1e6}
        yield counters.metric(names.WAITING, "s", [({"tasks": tasks}, part) for tasks, part in waited.items()], now)


def paging(place: Place, counters: Counters, now: int, boot: int) -> Iterator[Metric]:
    found, faults = proc.memory(place.proc), proc.faults(place.proc)
    if found and found.swap_total:
        states = {"used": found.swap_total - found.swap_free, "free": found.swap_free}
        by_state = [({names.PAGING_STATE: state}, value) for state, value in states.items()]
        yield level(names.PAGING_USAGE, "By", by_state, now, boot)
    if faults:
        yield counters.metric(names.PAGING_FAULTS, "{fault}", [({names.FAULT_TYPE: "major"}, faults.major)], now)


def cpu(place: Place, counters: Counters, now: int, _boot: int) -> Iterator[Metric]:
    points = [({names.CPU_MODE: mode}, seconds) for mode, seconds in system.cpu(place.proc).items()]
    yield counters.metric(names.CPU_TIME, "s", points, now)


def disk(place: Place, counters: Counters, now: int, _boot: int) -> Iterator[Metric]:
    disks = system.disks(place.proc, place.sys)
    for name, unit, fields in (
        (names.DISK_IO, "By", {"read": "read_bytes", "write": "written_bytes"}),
        (names.DISK_OPERATIONS, "{operation}", {"read": "reads", "write": "writes"}),
    ):
        points = [
            ({names.DEVICE: device, names.DISK_DIRECTION: direction}, getattr(one, field))
            for device, one in disks.items()
            for direction, field in fields.items()
        ]
        yield counters.metric(name, unit, points, now)


def network(place: Place, counters: Counters, now: int, boot: int) -> Iterator[Metric]:
    interfaces = system.interfaces(place.proc)
    for name, unit, field in (
        (names.NETWORK_IO, "By", "bytes"),
        (names.NETWORK_PACKETS, "{packet}", "packets"),
        (names.NETWORK_ERRORS, "{error}", "errors"),
        (names.NETWORK_DROPPED, "{packet}", "dropped"),
    ):
        points = [
            ({names.INTERFACE: interface, names.NETWORK_DIRECTION: direction}, value)
            for interface, one in interfaces.items()
            for direction, value in zip(("receive", "transmit"), getattr(one, field), strict=True)
        ]
        yield counters.metric(name, unit, points, now)
    yield from _tcp(place, counters, now, boot)


def _tcp(place: Place, counters: Counters, now: int, boot: int) -> Iterator[Metric]:
    if found := system.tcp(place.proc):
        states = {"established": found.established, "time_wait": found.time_wait}
        points = [({names.TRANSPORT: "tcp", names.CONNECTION_STATE: state}, count) for state, count in states.items()]
        yield level(names.CONNECTIONS, "{connection}", points, now, boot)
        yield counters.metric(names.TCP_SEGMENTS, "{segment}", [({}, found.segments_out)], now)
        yield counters.metric(names.TCP_RETRANSMITTED, "{segment}", [({}, found.retransmitted)], now)
    if times := sockdiag.round_trips():
        statistics = {"mean": sum(times) / len(times), "max": max(times)}
        points_of = [({names.STATISTIC: name}, round(value, 6)) for name, value in statistics.items()]
        yield gauge(names.TCP_ROUND_TRIP, "s", points_of, now)


SCRAPERS: Mapping[str, Callable[[Place, Counters, int, int], Iterator[Metric]]] = {
    "memory": memory,
    "paging": paging,
    "cpu": cpu,
    "disk": disk,
    "network": network,
}
