"""For how long an update has been put off, over restarts and clocks that jump. Pure; seconds.

`first` is the trusted time (since 1970) of the first "not now", which is all that has to be kept. While the process
runs, a monotonic clock says what has passed: a board that learns the time from the network after it was put off has not
waited for years, and one whose clock stands still waits no longer than it should.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Deferral:
    """`now` and `at` are the trusted and the monotonic time of the last look."""

    first: int
    now: int
    at: float

    @property
    def waited(self) -> int:
        return max(0, self.now - self.first)

    def look(self, now: int, at: float) -> Deferral:
        """At another moment of the same process."""
        passed = int(at - self.at)
        return replace(self, first=self.first + (now - self.now) - passed, now=now, at=self.at + passed)

    def over(self, limit: int) -> bool:
        """Whether the update goes ahead whatever says "not now". A `limit` of 0 is none."""
        return 0 < limit <= self.waited
