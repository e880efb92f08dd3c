"""A board's numbers over the day, by the names that hostmetrics and the agent use; the numbers are a model."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence

from collector_ext.pdata import (
    Gauge,
    LogRecord,
    Logs,
    Metric,
    Metrics,
    NumberPoint,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    Scope,
    ScopeLogs,
    ScopeMetrics,
    Sum,
    Temporality,
)
from collector_ext.receiver.hostmetrics import names
from edgesync.agent.readings import DRIFT, LINK_IO, OVERHEAD
from edgesync.wire.ids import DeviceId
from notebooks.sample.spans import Part
from notebooks.sample.story import (
    BACK,
    BLOB,
    CUT,
    DAY,
    HELD_SINCE,
    HOUR,
    LEAK,
    SILENT_SINCE,
    SPENDING_SINCE,
    SPENT,
    Story,
)

NANO = 1_000_000_000
TOTAL = 512 << 20
_RESOURCE = Resource({"service.name": "edgesync-agent"})
_HOST, _AGENT = Scope(names.SCOPE), Scope("edgesync.agent")
_TIMES_TOLD = 4

_Key = tuple[str, str, bool, tuple[tuple[str, str], ...]]
"""Name, unit, whether it is a difference, attributes."""


def metrics(
    story: Story, device: DeviceId, begin: float, parts: Sequence[Part], seed: random.Random
) -> Iterator[Metrics]:
    """An hour a message. `parts` are the board's in the rollouts of the day."""
    usual = seed.uniform(0.52, 0.68) * TOTAL
    an_hour = round(HOUR / story.step)
    steps = [begin + story.step * number for number in range(round(DAY / story.step))]
    for first in range(0, len(steps), an_hour):
        points: dict[_Key, list[NumberPoint]] = {}
        for at in steps[first : first + an_hour]:
            if device == story.silent and at > begin + SILENT_SINCE * HOUR:
                continue
            for key, value in _step(story, device, begin, at, usual=usual, parts=parts, seed=seed).items():
                start = round((at - story.step) * NANO) if key[2] else 0
                points.setdefault(key, []).append(NumberPoint(round(at * NANO), value, dict(key[3]), start))
        if points:
            yield _batch(points)


def logs(story: Story, device: DeviceId, begin: float, parts: Sequence[Part], seed: random.Random) -> Logs:
    """What the agent said in the day."""
    said = [(begin + seed.uniform(0, 600), 9, "connected to the broker")]
    for part in parts:
        for at, phase, error in part.steps:
            said.append((at, 17 if phase == "failed" else 13 if error else 9, f"{phase} {error}".strip()))
    if story.holds(device, "link"):
        cut, back = begin + CUT * HOUR, begin + BACK * HOUR
        said += [(cut + n * (back - cut) / _TIMES_TOLD, 13, "connection lost: no answer in 60 s") for n in range(4)]
        said.append((back, 9, "connected to the broker"))
    records = tuple(LogRecord(round(at * NANO), text, severity=severity) for at, severity, text in sorted(said))
    return Logs((ResourceLogs((ScopeLogs(records, _AGENT),), _RESOURCE),))


def _step(
    story: Story, device: DeviceId, begin: float, at: float, *, usual: float, parts: Sequence[Part], seed: random.Random
) -> Mapping[_Key, float]:
    hour = (at - begin) / HOUR
    available = usual + 9e6 * math.sin(hour / 24 * 2 * math.pi) + seed.gauss(0, 1.2e6)
    since = [part.ended for part in parts if part.release == story.leaking and part.ended < at]
    available -= LEAK * (at - since[0]) if since else 0.0
    if story.holds(device, "memory") and HELD_SINCE <= hour < BACK:
        available *= 0.3
    available = round(max(8e6, available) / 4096) * 4096
    congestion = _congestion(hour) if story.holds(device, "link") else 0.0
    lost = min(0.9, congestion + seed.uniform(0, 0.02))
    cut = congestion > 0 and hour >= CUT
    segments = 4 if cut else round(seed.uniform(60, 90))
    link = _link(story, device, begin, at, parts=parts, seed=seed) if not cut else {}
    values: dict[_Key, float] = {
        (names.MEMORY_LIMIT, "By", False, ()): TOTAL,
        (names.MEMORY_AVAILABLE, "By", False, ()): available,
        (names.MEMORY_UTILIZATION, "1", False, ()): round((TOTAL - available) / TOTAL, 4),
        (names.OOM_KILLS, "{process}", True, ()): 0,
        (names.TCP_SEGMENTS, "{segment}", True, ()): segments,
        (names.TCP_RETRANSMITTED, "{segment}", True, ()): round(segments * lost),
        (DRIFT, "{file}", False, ()): 0,
    }
    pressure = max(0.0, 0.5 - available / TOTAL * 2)
    for tasks, part in (("some", pressure), ("full", pressure / 3)):
        values[names.PRESSURE, "1", False, (("tasks", tasks),)] = round(part, 4)
    late = max(0.0, hour - HELD_SINCE - 0.15) * 6 if congestion else 0.0
    for statistic, factor in (("mean", 1.0), ("max", 1.9)):
        trip = round(factor * (0.18 + seed.uniform(0, 0.05) + late), 4)
        values[names.TCP_ROUND_TRIP, "s", False, ((names.STATISTIC, statistic),)] = trip
    for direction, share in (("receive", 0.7), ("transmit", 0.3)):
        attributes = ((names.INTERFACE, "wwan0"), (names.NETWORK_DIRECTION, direction))
        values[names.NETWORK_IO, "By", True, attributes] = round(share * sum(link.values()))
    for purpose, size in link.items():
        values[LINK_IO, "By", True, (("purpose", purpose),)] = size
    return values


def _congestion(hour: float) -> float:
    """The share of segments that must be sent again: more and more, and then nothing gets through."""
    return min(0.5, (hour - HELD_SINCE + 0.1) * 1.2) if HELD_SINCE <= hour < BACK else 0.0


def _link(
    story: Story, device: DeviceId, begin: float, at: float, *, parts: Sequence[Part], seed: random.Random
) -> dict[str, int]:
    """Bytes by purpose between this reading and the one before, at IP level both ways."""
    blob = 0.0
    for part in parts:
        first, last = part.fetched
        blob += BLOB * max(0.0, min(at, last) - max(at - story.step, first)) / (last - first)
    extra = round(SPENT * story.step / HOUR * seed.uniform(0.8, 1.2))
    spent = {
        "blob": round(blob),
        "refetched": 0,
        "metadata": round(blob * 0.002) + (900 if blob else 0),
        "reported": 220 if blob else 0,
        "config": 0,
        "telemetry": round(seed.uniform(330, 390)),
    }
    if story.spending and device == story.spending[0] and at >= begin + SPENDING_SINCE * HOUR:
        spent[story.spending[1]] += extra
    return {**spent, OVERHEAD: round(0.05 * sum(spent.values()) + seed.uniform(260, 320))}


def _batch(points: Mapping[_Key, Sequence[NumberPoint]]) -> Metrics:
    by_name: dict[tuple[str, str, bool], list[NumberPoint]] = {}
    for key, several in points.items():
        by_name.setdefault(key[:3], []).extend(several)
    of_agent, of_host = list[Metric](), list[Metric]()
    for (name, unit, difference), several in by_name.items():
        found = tuple(several)
        data = Sum(found, Temporality.DELTA, monotonic=True) if difference else Gauge(found)
        (of_agent if name in (LINK_IO, DRIFT) else of_host).append(Metric(name, data, unit))
    scopes = (ScopeMetrics(tuple(of_host), _HOST, names.SCHEMA_URL), ScopeMetrics(tuple(of_agent), _AGENT))
    return Metrics((ResourceMetrics(scopes, _RESOURCE),))
