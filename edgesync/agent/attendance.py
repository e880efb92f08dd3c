"""When a board is connected: always, or at times. Pure; seconds of a monotonic clock.

A board that checks in connects, takes what is retained for it, does what is to be done while it is connected, and
leaves. It stays for as long as something is under way, and tries for `TRY_LIMIT` where the broker cannot be reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DAY = 86400
TRY_LIMIT = 600.0
"""Seconds without a connection after which the next check-in is waited for."""
LINGER = 5.0
"""Seconds after the broker has answered the subscription in which a desired state would have come."""
CALM = 2.0
"""Seconds without anything under way before it leaves: one thing often leads to the next."""
EARLY = 0.1
"""Part of the interval by which chance brings the next check-in forward, so that a fleet does not come as one."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at one moment. `connected` is since when, or None; `answered` since when the broker has acknowledged
    the subscription, or None; `heard`: the desired state of this connection came. `busy`: something is under way that
    wants the link; `starving`: a blob does not come, which is waited for as long as for the broker; `bound`: a reboot
    is near or just was, and is to be told.
    """

    now: float
    connected: float | None = None
    answered: float | None = None
    heard: bool = False
    busy: bool = False
    starving: bool = False
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Attendance:
    """`since`: when it came or left; `calm`: since when nothing is under way, or None; `due`: when it comes again."""

    present: bool = True
    since: float = 0.0
    calm: float | None = None
    due: float = 0.0

    def look(self, look: Look, interval: int, chance: float) -> Attendance:
        """`interval` is that of the check-ins, 0 for a board that stays; `chance` is drawn from 0 to 1."""
        if not self.present:
            comes = not interval or look.bound or look.now >= min(self.due, self.since + interval)
            return Attendance(since=look.now) if comes else self
        if not interval or look.bound:
            return replace(self, calm=None)
        if look.connected is None:
            away = look.now - self.since >= TRY_LIMIT
            return self._left(look.now, interval, chance) if away else replace(self, calm=None)
        asked = look.heard or (look.answered is not None and look.now - look.answered >= LINGER)
        starving = look.starving and look.now - look.connected < TRY_LIMIT
        if look.busy or starving or not asked:
            return replace(self, since=look.now, calm=None)
        if self.calm is None:
            return replace(self, since=look.now, calm=look.now)
        return self._left(look.now, interval, chance) if look.now - self.calm >= CALM else replace(self, since=look.now)

    def wake(self) -> Attendance:
        """Someone wants the next check-in now."""
        return self if self.present else replace(self, due=self.since)

    def _left(self, now: float, interval: int, chance: float) -> Attendance:
        return Attendance(present=False, since=now, due=now + interval * (1 - EARLY * chance))


def wants_report(now: float, reported: float | None, interval: int) -> bool:
    """Whether a board that checks in shall report though it has no news: a day without a word is too long."""
    return reported is None or now + interval - reported > DAY
