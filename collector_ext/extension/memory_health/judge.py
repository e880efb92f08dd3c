"""Is the memory short? Pure: readings in, a judgement out. The rules:

- What counts is the fuller of two: the machine (what is not available of all there is) and the fullest cgroup with a
  limit, from the own one upwards.
- At `soft` and at `hard` percent the level rises at once; at once to hard also when the kernel killed something for
  memory, or all tasks waited for memory for more than `pressure` percent of ten seconds.
- It falls only when usage is `margin` points below the level's threshold, nothing was killed and nobody waits, at
  `calm` looks in a row: then to the level that usage says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from edgesync.host.cgroup import Usage
from edgesync.host.proc import Faults, Memory, Pressure


class Level(IntEnum):
    OK = 0
    SOFT = 1
    HARD = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. What this kernel does not tell is None or empty."""

    memory: Memory
    groups: tuple[Usage, ...] = ()
    faults: Faults | None = None
    pressure: Pressure | None = None

    @property
    def usage(self) -> tuple[float, str]:
        """Percent, and of what."""
        memory = self.memory
        machine = 100 * (memory.total - memory.available) / memory.total, "the machine"
        groups = [(100 * group.used / group.limit, group.path) for group in self.groups if group.limit]
        return max([machine, *groups])

    @property
    def kills(self) -> int:
        """Of the machine, or of a group where the kernel counts only there. A number that grows by kills alone."""
        return max([self.faults.oom_kills if self.faults else 0, *(group.oom_kills for group in self.groups)])


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Percent; `pressure` 0 leaves pressure alone. `calm` counts looks."""

    soft: float = 80.0
    hard: float = 90.0
    margin: float = 5.0
    pressure: float = 5.0
    calm: int = 2

    def level(self, percent: float) -> Level:
        return Level.HARD if percent >= self.hard else Level.SOFT if percent >= self.soft else Level.OK

    def floor(self, level: Level) -> float:
        """Below this a level may fall."""
        return (self.hard if level is Level.HARD else self.soft) - self.margin


@dataclass(frozen=True, slots=True)
class Judgement:
    """`why` is for people, "" while all is well. `calm` looks in a row would let the level fall."""

    level: Level = Level.OK
    why: str = ""
    calm: int = 0
    kills: int | None = None


def judge(before: Judgement, reading: Reading, thresholds: Thresholds) -> Judgement:
    """The judgement after one more look. The first look's kills are history."""
    percent, of_what = reading.usage
    killed = 0 if before.kills is None else max(0, reading.kills - before.kills)
    waiting = reading.pressure.full10 if reading.pressure and thresholds.pressure else 0.0
    found, why = thresholds.level(percent), f"{percent:.0f} % of {of_what} is used"
    if killed:
        found, why = Level.HARD, f"the kernel killed {killed} for memory"
    elif waiting > thresholds.pressure:
        found, why = Level.HARD, f"every task waited for memory for {waiting:.0f} % of 10 s"
    if found >= before.level:
        return Judgement(found, why if found else "", 0, reading.kills)
    calm = before.calm + 1 if percent < thresholds.floor(before.level) else 0
    if calm < thresholds.calm:
        return Judgement(before.level, before.why, calm, reading.kills)
    return Judgement(found, why if found else "", 0, reading.kills)
