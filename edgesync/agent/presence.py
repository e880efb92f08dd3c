"""Brings a board to its broker and away from it, as the fleet's manners say and its month's budget lets it.

While it stays connected, `up` says so and the last will says when it is gone. A board that checks in says neither: it
is away most of the time, and that means nothing. So is one whose budget is spent to the last byte: it is mute but for
one connection a day, by which it learns whether it may have more.
"""

from __future__ import annotations

import asyncio
import logging
import random

from edgesync.agent.attendance import DAY, Attendance, Look, wants_report
from edgesync.agent.gate import Gate
from edgesync.agent.reporter import Reporter
from edgesync.host.clock import Clock
from edgesync.host.mqtt import MqttLink
from edgesync.wire.errors import LinkError

GOODBYE = 10.0
"""Seconds that leaving waits for the word that it does."""

log = logging.getLogger("edgesync.presence")


class Presence:
    """`topic` is the board's `up`. `look` is called once a second."""

    def __init__(self, link: MqttLink, topic: str, *, gate: Gate, reporter: Reporter, clock: Clock) -> None:
        self._link, self._topic, self._gate, self._reporter, self._clock = link, topic, gate, reporter, clock
        self._attendance = Attendance(since=clock.monotonic())
        self._connected: float | None = None
        self._asked = self._heard = False
        self._answered: float | None = None
        self._reported: float | None = None
        self._said_up = False
        self._exhausted = False
        self._saying: asyncio.Task[None] | None = None

    @property
    def interval(self) -> int:
        """Seconds between two check-ins, 0 for a board that stays connected."""
        check_in = self._gate.manners.check_in
        return max(check_in, DAY) if self._gate.exhausted else check_in

    def start(self) -> None:
        self._link.announced = not self.interval
        self._link.start()

    def up(self) -> None:
        """A connection is there."""
        now = self._clock.monotonic()
        self._connected, self._answered = now, None
        self._asked = self._heard = False
        if self._link.announced:
            self._say(b"1")
        elif wants_report(now, self._reported, self.interval):
            self._reporter.request()

    def down(self) -> None:
        self._connected = None

    def asked(self) -> None:
        """The desired state is subscribed to."""
        self._asked = True

    def heard(self) -> None:
        """The desired state came."""
        self._heard = True

    def reported(self) -> None:
        self._reported = self._clock.monotonic()

    def wake(self) -> None:
        """The next check-in is now."""
        log.info("asked to check in")
        self._attendance = self._attendance.wake()

    def look(self, *, busy: bool, starving: bool, bound: bool) -> None:
        """Come or leave, by what is under way; the words are those of `attendance.Look`."""
        now, interval, before = self._clock.monotonic(), self.interval, self._attendance
        if self._asked and self._answered is None and self._link.answered:
            self._answered = now
        seen = Look(now, self._connected, self._answered, self._heard, busy, starving, bound)
        self._attendance = before.look(seen, interval, random.random())  # noqa: S311 - spreads load, guards no secret
        if self._gate.exhausted and not self._exhausted:
            log.warning("the budget of %d bytes for this month is spent", self._gate.manners.budget)
            self._reporter.request()
        self._exhausted = self._gate.exhausted
        if self._attendance.present and not before.present:
            log.info("checking in")
            self._link.announced = not interval
            self._link.go_on()
        elif before.present and not self._attendance.present:
            log.info("leaving for %.0f s", self._attendance.due - now)
            self._say(b"0", leave=True)
        elif not interval and not self._link.announced and self._connected is not None:
            self._link.announced = True  # the broker learns of a last will by a new connection only
            self._link.rest()
            self._link.go_on()

    def _say(self, word: bytes, *, leave: bool = False) -> None:
        self._saying = asyncio.get_running_loop().create_task(self._deliver(word, leave=leave), name="up")

    async def _deliver(self, word: bytes, *, leave: bool) -> None:
        try:
            if not leave or self._said_up:
                await asyncio.wait_for(self._link.deliver(self._topic, word), GOODBYE)
                self._said_up = word == b"1"
        except (LinkError, asyncio.TimeoutError):
            pass  # the next connection says it again; the last will says that it is gone
        if leave and not self._attendance.present:  # it may have been woken meanwhile
            self._link.rest()
