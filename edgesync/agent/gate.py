"""What both deciders ask before they do something that may be "not now": begin a fetch, reboot, switch the config.

The gate has obstacles, each with its own reason. It is asked once a minute as long as something is in the way, and at
once when the fleet's manners change or what was in the way is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edgesync.agent import budget
from edgesync.agent.deferral import Deferral
from edgesync.agent.ledger import Ledger
from edgesync.host.clock import Clock, TrustedTime
from edgesync.host.files import read_limited, write_atomic
from edgesync.wire import codec, fields
from edgesync.wire.errors import EdgesyncError, InhibitedError
from edgesync.wire.messages import Manners

AGAIN = 60.0
"""Seconds between two looks at what is in the way."""
LOOK = 1.0
"""Seconds between two looks whether it is gone, where that costs nothing."""
FILE_LIMIT = 4096

What = Literal["firmware", "config"]

log = logging.getLogger("edgesync.gate")


@dataclass(frozen=True, slots=True)
class Deed:
    """`kind` "fetch": begin to fetch `size` bytes of a blob; "switch": put what was made in force, for firmware by a
    reboot.
    """

    kind: Literal["fetch", "switch"]
    what: What
    size: int = 0


class Obstacle(Protocol):
    """Something on the board that may be in the way: an application that is busy, memory that is short."""

    async def refusal(self, deed: Deed) -> EdgesyncError | None:
        """Why not now; None for nothing. Ends within a minute, and raises nothing."""
        ...

    def gone(self) -> bool:
        """Whether what was in the way at the last refusal is seen to be gone; a guess, asked each second."""
        ...


class Gate:
    """`obstacles` are asked in their order, after the budget. An InhibitedError of theirs stands for `manners.defer`
    seconds at most.
    """

    def __init__(
        self, state: str, obstacles: Sequence[Obstacle], *, ledger: Ledger, clock: Clock, time: TrustedTime
    ) -> None:
        self._path = os.path.join(state, "deferral.json")
        self._obstacles, self._ledger, self._clock, self._time = obstacles, ledger, clock, time
        self._deferrals: dict[What, Deferral] = {}
        self._stirred = asyncio.Event()
        self.manners = Manners()
        with contextlib.suppress(EdgesyncError):
            self._load()

    def follow(self, manners: Manners) -> None:
        """What the fleet says now."""
        if manners != self.manners:
            self.manners = manners
            self._stirred.set()

    def now(self) -> int:
        """Trusted time, seconds since 1970."""
        return self._time.now()

    def settled(self, what: What) -> None:
        """Nothing is to be done any more: the next time that it is put off is the first."""
        if self._deferrals.pop(what, None):
            self._save()

    async def passed(self, deed: Deed, put_off: Callable[[EdgesyncError], None]) -> bool:
        """Return when nothing is in the way; whether something was. `put_off` is told what is, and again when it is
        something else.
        """
        told = ""
        while True:
            self._stirred.clear()
            error, obstacle = await self._refusal(deed)
            if error is None:
                return bool(told)
            # What a command says may be new each time, and so is what is left of a budget: it is told once.
            which = str(error).partition(": ")[0] if isinstance(error, InhibitedError) else error.name
            if which != told:
                log.info("put off: %s of %s: %s: %s", deed.kind, deed.what, error.name, error)
                put_off(error)
            told = which
            await self._pause(obstacle)

    async def _refusal(self, deed: Deed) -> tuple[EdgesyncError | None, Obstacle | None]:
        """What is in the way of this deed now, and whose word that is if it is an obstacle's."""
        if deed.kind == "fetch" and (spent := self.spent(deed.what, deed.size)):
            return spent, None
        for obstacle in self._obstacles:
            error = await obstacle.refusal(deed)
            if isinstance(error, InhibitedError):
                if self._is_over(deed.what):
                    log.warning("goes ahead, put off for long enough: %s of %s: %s", deed.kind, deed.what, error)
                    continue
                return error, obstacle
            if error:
                return error, obstacle
        if deed.kind == "switch" and not self._is_overridden(deed.what):
            self.settled(deed.what)
        return None, None

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left of the month's budget, not even for reports."""
        month = self._ledger.month.at(self.now())
        return self.manners.budget > 0 and budget.left(self.manners.budget, month, firmware=False) == 0

    def spent(self, what: What, size: int, *, begun: bool = False) -> EdgesyncError | None:
        """Whether the budget is too small for `size` bytes more of a blob."""
        month = self._ledger.month.at(self.now())
        return budget.refusal(self.manners.budget, month, size, firmware=what == "firmware", begun=begun)

    def _is_over(self, what: What) -> bool:
        now, at = self._time.now(), self._clock.monotonic()
        before = self._deferrals.get(what)
        deferral = before.look(now, at) if before else Deferral(now, now, at)
        self._deferrals[what] = deferral
        if before is None or abs(deferral.first - before.first) > AGAIN:
            self._save()
        return deferral.over(self.manners.defer)

    def _is_overridden(self, what: What) -> bool:
        """Whether it goes ahead against what is in the way: then it stays so until there is nothing to do any more."""
        deferral = self._deferrals.get(what)
        return deferral is not None and deferral.over(self.manners.defer)

    async def _pause(self, obstacle: Obstacle | None) -> None:
        end = self._clock.monotonic() + AGAIN
        while self._clock.monotonic() < end:
            with contextlib.suppress(asyncio.TimeoutError):  # the builtin TimeoutError only from Python 3.11 on
                await asyncio.wait_for(self._stirred.wait(), LOOK)
                return
            if obstacle and obstacle.gone():
                return

    def _save(self) -> None:
        kept = {what: deferral.first for what, deferral in self._deferrals.items()}
        with contextlib.suppress(EdgesyncError):  # a full disk makes the wait longer, after a restart
            write_atomic(self._path, codec.canonical(kept), 0o600)

    def _load(self) -> None:
        kept = codec.parse_object(read_limited(self._path, FILE_LIMIT)) if os.path.exists(self._path) else {}
        now, at = self._time.now(), self._clock.monotonic()
        whats: tuple[What, ...] = ("firmware", "config")
        for what in whats:
            if what in kept:
                self._deferrals[what] = Deferral(fields.integer(kept, what), now, at)
