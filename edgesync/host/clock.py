"""Time as an argument: what the agent and the server read, and what a simulation replaces.

Intervals are measured with `monotonic`, which no one can set. `wall` may jump; whoever needs it for trust keeps the
largest trustworthy value itself (`TrustedTime`).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, with their fractions, as the operating system believes them."""
        ...


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class TrustedTime:
    """Seconds since 1970 that never go back: the largest of the given floor, what was seen before, and the wall clock.

    A board without a battery starts in 1970: `floor` is the newest moment that it has proof of (the image's build, the
    last value that was kept).
    """

    def __init__(self, clock: Clock, floor: int = 0) -> None:
        self._clock = clock
        self._newest = floor
        self._last_wall = 0
        self._jump = 0

    def now(self) -> int:
        wall = int(self._clock.wall())
        self._jump = max(self._jump, self._last_wall - wall)
        self._last_wall = wall
        self._newest = max(self._newest, wall)
        return self._newest

    def take_jump(self) -> int:
        """Seconds of the largest leap backwards of the wall clock since the last call, 0 for none."""
        jump, self._jump = self._jump, 0
        return jump
