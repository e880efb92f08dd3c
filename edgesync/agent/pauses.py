"""How long not to ask for what was wrong: every SUBSCRIBE makes the broker send its retained bytes again, also the
wrong ones, and on a new connection there is no other way to ask. So the pause grows to an hour. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST, LIMIT = 10.0, 3600.0
"""Seconds of the first pause, and of the longest; each is four times the one before."""


@dataclass(frozen=True, slots=True)
class _Pause:
    seconds: float
    until: float


class Pauses:
    """Pauses by topic or filter."""

    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = {}

    def begin(self, key: str, now: float) -> None:
        """The bytes behind `key` were wrong."""
        before = self._pauses.get(key)
        seconds = min(LIMIT, 4 * before.seconds) if before else FIRST
        self._pauses[key] = _Pause(seconds, now + seconds)

    def over(self, key: str, now: float) -> bool:
        """Whether `key` may be asked for."""
        pause = self._pauses.get(key)
        return pause is None or now >= pause.until

    def forget(self) -> None:
        self._pauses.clear()
