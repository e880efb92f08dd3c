"""Instructions of 32-bit ARM (A32), as far as a delta must know them: which words hold a distance.

Branches hold it themselves, in words. Other distances stand beside the code, in literals: an LDR loads one into a
register, which an ADD or another LDR adds to its own address. Both are counted from two instructions behind the one
that uses them. Here one word at a time, and standard library only; `aarch32` does the same for arrays.
"""

from __future__ import annotations

AHEAD = 8
"""Bytes from an instruction to where its distance is counted from."""
REACH = 64
"""Words between an LDR of a literal and what adds it to its own address, at most."""
LOADS = 0x0F7F0000, 0x051F0000
"""Bits that are compared, and their value: LDR of a literal."""
ADDS = ((0x0FFF0FF0, 0x008F0000), (0x0FFF0FF0, 0x079F0000))
"""The same: ADD of PC and a register, LDR from PC and a register."""


def is_branch(word: int) -> bool:
    """With any condition; without one (its bits all set) it is BLX."""
    return word >> 25 & 7 == 5


def distance(word: int) -> int:
    """Bytes from a branch to its target."""
    return ((word & 0xFFFFFF ^ 1 << 23) - (1 << 23)) * 4 + AHEAD


def with_distance(word: int, distance: int) -> int:
    """The same branch with another distance; bits that do not fit are dropped."""
    return word & 0xFF000000 | distance - AHEAD >> 2 & 0xFFFFFF


def loaded(word: int) -> tuple[int, int] | None:
    """The register that an LDR of a literal loads, and how many words the literal is behind it; None for others."""
    if word & LOADS[0] != LOADS[1] or word & 3:
        return None
    steps = (word & 0xFFF) // 4
    return word >> 12 & 15, AHEAD // 4 + (steps if word & 1 << 23 else -steps)


def added(word: int) -> int | None:
    """The register that is added to the instruction's own address; None if that is none of ADDS."""
    return word & 15 if any(word & mask == value for mask, value in ADDS) else None
