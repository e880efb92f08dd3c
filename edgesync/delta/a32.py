"""Branches of 32-bit ARM (A32), as far as a delta must know them: B, BL and BLX, which hold a distance in words.

The distance is counted from two instructions behind the branch. Here one word at a time, and standard library only;
`aarch32` does the same for arrays.
"""

from __future__ import annotations

AHEAD = 8
"""Bytes from a branch to where its distance is counted from."""


def is_branch(word: int) -> bool:
    """With any condition; without one (its bits all set) it is BLX."""
    return word >> 25 & 7 == 5


def distance(word: int) -> int:
    """Bytes from a branch to its target."""
    return ((word & 0xFFFFFF ^ 1 << 23) - (1 << 23)) * 4 + AHEAD


def with_distance(word: int, distance: int) -> int:
    """The same branch with another distance; bits that do not fit are dropped."""
    return word & 0xFF000000 | distance - AHEAD >> 2 & 0xFFFFFF
