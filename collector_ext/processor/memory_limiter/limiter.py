"""When to refuse and when to collect garbage. Pure: bytes and time in, a decision out.

Above the soft limit data are refused and garbage is collected, at most every 10 s there and every time above the hard
limit; a collection that frees less than a twentieth doubles the wait, up to 30 s.
"""

from __future__ import annotations

from dataclasses import dataclass

SOFT_WAIT = 10.0
LONGEST_WAIT = 30.0
FRUITLESS = 0.05


@dataclass(frozen=True, slots=True)
class Decision:
    refuse: bool
    collect: bool


class Limiter:
    """`soft` and `hard` are bytes."""

    def __init__(self, soft: int, hard: int) -> None:
        self._soft, self._hard = soft, hard
        self._collected = float("-inf")
        self._wait = 0.0

    def check(self, used: int, now: float) -> Decision:
        """`now` is monotonic, in seconds."""
        if used <= self._soft:
            self._wait = 0.0
            return Decision(refuse=False, collect=False)
        wait = max(self._wait, 0.0 if used > self._hard else SOFT_WAIT)
        return Decision(refuse=True, collect=now - self._collected >= wait)

    def collected(self, before: int, after: int, now: float) -> None:
        """What a collection has brought."""
        self._collected = now
        fruitless = before - after < FRUITLESS * before
        self._wait = min(LONGEST_WAIT, max(1.0, 2 * self._wait)) if fruitless else 0.0
