"""How fast a board fetches: when the next piece may be asked for. Pure; times are seconds of a monotonic clock.

What is asked for comes as fast as the link lets it, so all that a board can do, without help of its kernel, is to ask
for one piece after the other and to pause in between. While a piece comes it may take the whole link; over a few pieces
the rest is left to the board's application.
"""

from __future__ import annotations

from edgesync.wire.blob import PIECE
from edgesync.wire.messages import Manners

OVERHEAD = 1.1
"""Bytes on the link for each byte of a piece."""
SLACK = 2.0
"""Seconds of a capped rate that may be made up for: pieces are asked for when someone looks, once a second."""
SPENT_LIMIT = 120.0
"""Seconds of one piece that count: at 2.4 kbit/s it takes 60, and what takes longer was a link that was away."""


class Pace:
    """The pace of one fetch. `stopped`: nothing more is asked for, what is on its way may come."""

    def __init__(self, manners: Manners | None = None) -> None:
        self._manners = manners or Manners()
        self._next: float | None = None  # None before anyone has asked
        self.stopped = False

    def follow(self, manners: Manners) -> None:
        """From the next piece on."""
        if (manners.rate, manners.share) != (self._manners.rate, self._manners.share):
            self._next = None
        self._manners = manners

    @property
    def limited(self) -> bool:
        """Whether pieces may have to wait for their time."""
        return self._manners.rate > 0 or self._manners.share < 100 or self.stopped

    def window(self, usual: int) -> int:
        """Pieces in flight: one where a share is left to others, for only then is it known what a piece takes."""
        return usual if self._manners.share == 100 else 1

    def free(self, now: float) -> bool:
        """Whether the next piece may be asked for. At a capped rate its time has to have passed before, so that no
        beginning, and no beginning anew, goes beyond it.
        """
        if self._next is None:
            self._next = now + self._cost(PIECE)
        return not self.stopped and now >= self._next

    def asked(self, size: int, now: float) -> None:
        """A piece of `size` bytes was asked for."""
        self._next = max(self._next or 0.0, now - SLACK) + self._cost(size)

    def came(self, spent: float, now: float) -> None:
        """A piece is complete, `spent` seconds after it was asked for."""
        share = self._manners.share
        if share < 100:
            self._next = max(self._next or 0.0, now + min(spent, SPENT_LIMIT) * (100 - share) / share)

    def _cost(self, size: int) -> float:
        """Seconds."""
        return OVERHEAD * size / self._manners.rate if self._manners.rate else 0.0
