"""What somebody sends wrong, again and again, is told when it is new and counted from then on: a log is no place that
others may fill.
"""

from __future__ import annotations

LIMIT = 100
"""Different things that are told in one life; a sender that may choose names has no more lines either."""
REST = "more such are only counted"
"""How the line ends, so that nobody waits for the next one."""


class Firsts:
    """What was told already."""

    def __init__(self) -> None:
        self._told: set[tuple[str, ...]] = set()

    def is_new(self, *what: str) -> bool:
        """Whether to tell it; it is told then. Give it short names: they are kept."""
        if what in self._told or len(self._told) >= LIMIT:
            return False
        self._told.add(what)
        return True
