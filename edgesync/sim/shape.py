"""One direction of a link as a pure decision: when does a packet arrive, or why does it not.

Whoever moves the packets offers each one, holds it until its due time and then says `delivered` or `abandoned`.
No clock and no I/O in here: the same seed and the same offers give the same answers, in a test as in the emulator.

Order of things, as on a real link: the queue (newest dropped when it is full), the wire at its rate, then the air,
where a packet that has paid its time on the wire is lost or delayed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from edgesync.sim.profiles import Direction, Outage

IN_FLIGHT_LIMIT = 32 << 20
"""Bytes that one direction holds at most, however long its delay: the bound of the emulator's memory."""


class Drop(str, Enum):
    """Why a packet does not arrive."""

    LOST = "lost"  # by chance
    OVERFLOW = "overflow"  # the queue was full
    OUTAGE = "outage"  # the link was away, as its profile says
    CUT = "cut"  # somebody unplugged it


@dataclass(frozen=True, slots=True)
class Tally:
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """One direction at IP level, headers included. A sender pays for what it offered, a receiver gets `delivered`.

    offered = delivered + lost + overflow + outage + cut + what is in flight.
    """

    offered: Tally = field(default_factory=Tally)
    delivered: Tally = field(default_factory=Tally)
    lost: Tally = field(default_factory=Tally)
    overflow: Tally = field(default_factory=Tally)
    outage: Tally = field(default_factory=Tally)
    cut: Tally = field(default_factory=Tally)

    @property
    def in_flight(self) -> Tally:
        rest = (self.delivered, self.lost, self.overflow, self.outage, self.cut)
        return Tally(
            self.offered.packets - sum(t.packets for t in rest),
            self.offered.bytes - sum(t.bytes for t in rest),
        )

    def to_dict(self) -> dict[str, list[int]]:
        return {f.name: [getattr(self, f.name).packets, getattr(self, f.name).bytes] for f in fields(self)}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Counters:
        return Counters(**{name: Tally(*pair) for name, pair in value.items()})


class Shaper:
    """`start` is the time from which outages are counted; all times are seconds on the caller's clock."""

    def __init__(
        self, direction: Direction, outage: Outage | None = None, seed: object = 1, start: float = 0.0
    ) -> None:
        self._direction = direction
        self._outage = outage
        self._start = start
        # One stream of chance for each question: another jitter does not change which packets are lost.
        self._loss, self._burst, self._jitter = (
            random.Random(f"{seed}/{name}") for name in ("loss", "burst", "jitter")
        )
        self._in_burst = False
        self._wire_free = start
        self._last_due = start
        self._cut_until = -1.0
        self._plugged = True
        self._in_flight = 0
        self._counts: dict[str, list[int]] = {f.name: [0, 0] for f in fields(Counters)}

    def offer(self, length: int, now: float) -> float | Drop:
        """The time at which a packet of `length` bytes arrives, or why it never does."""
        self._count("offered", length)
        outcome = self._decide(length, now)
        if isinstance(outcome, Drop):
            self._count(outcome.value, length)
        else:
            self._in_flight += length
        return outcome

    def delivered(self, length: int) -> None:
        """A packet that was due has been handed over."""
        self._in_flight -= length
        self._count("delivered", length)

    def abandoned(self, length: int) -> None:
        """A packet on its way was thrown away, because the link was cut under it."""
        self._in_flight -= length
        self._count("cut", length)

    def has_room(self, length: int, now: float) -> bool:
        """False if a packet that is offered now would overflow the queue. A wire without a rate has no queue."""
        fits = not self._direction.rate or self.backlog(now) + length <= self._direction.queue
        return fits and self._in_flight + length <= IN_FLIGHT_LIMIT

    def flush(self, now: float) -> None:
        """What was queued is gone, and the wire is free: whoever held the packets has abandoned them."""
        self._wire_free = self._last_due = now

    def backlog(self, now: float) -> float:
        """Bytes that wait for the wire or are on it."""
        return max(0.0, self._wire_free - now) * self._direction.rate / 8

    def change(self, direction: Direction, outage: Outage | None) -> None:
        """From the next packet on the link is like this. Nothing overtakes what is on its way."""
        self._direction, self._outage = direction, outage

    def unplug(self) -> None:
        self._plugged = False

    def plug(self) -> None:
        self._plugged = True
        self._cut_until = -1.0

    def cut(self, until: float) -> None:
        """Drop everything up to that time."""
        self._cut_until = max(self._cut_until, until)

    def counters(self) -> Counters:
        return Counters.from_dict(self._counts)

    def _decide(self, length: int, now: float) -> float | Drop:
        way = self._direction
        if not self._plugged or now < self._cut_until:
            return Drop.CUT
        if not self.has_room(length, now):
            return Drop.OVERFLOW
        sent = max(self._wire_free, now) + (length * 8 / way.rate if way.rate else 0.0)
        self._wire_free = sent
        lost = self._is_lost()
        if self._outage and self._outage.remaining(max(0.0, sent - self._start)) > 0:
            return Drop.OUTAGE
        if lost:
            return Drop.LOST
        jitter = self._jitter.uniform(-way.jitter, way.jitter) if way.jitter else 0.0
        self._last_due = max(self._last_due, sent + way.delay + jitter)
        return self._last_due

    def _is_lost(self) -> bool:
        way = self._direction
        lost = way.loss > 0 and self._loss.random() < way.loss
        if way.burst:
            turn = 1 / (way.burst.length if self._in_burst else way.burst.gap)
            self._in_burst ^= self._burst.random() < turn
            lost |= self._in_burst and self._burst.random() < way.burst.loss
        return lost

    def _count(self, name: str, length: int) -> None:
        tally = self._counts[name]
        tally[0] += 1
        tally[1] += length
