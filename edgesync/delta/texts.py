"""Text that was edited: what differs inside a copy becomes new bytes, and the copy two copies.

Server only. In programs a difference inside a copy is a number that changed a little, so it travels as that. In text it
is other words: as differences of bytes they would be noise, as new bytes they are words again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.addresses import Space
from edgesync.delta.copies import Copies
from edgesync.delta.varint import Ints

COPY_MIN = 16
"""Bytes of the shortest copy that is sent: a shorter one costs more in the tables than it saves."""
TEXT_MIN = 8
"""The same where copies are exact: 3 bytes in the tables instead of 8 of text, which are half as many when packed."""
_AROUND = 32
"""Bytes on both sides of a difference that are looked at to see whether it is text."""
_LETTERS = np.array([32 <= value < 127 or value in b"\t\n\r" for value in range(256)])

Runs = Callable[[Ints, Ints], NDArray[np.bool_]]
"""Which of these ranges of the result (start and end of each) a copy should not bridge."""


def edited(base: bytes, result: bytes, copies: Copies, programs: Space, least: int = COPY_MIN) -> Copies:
    """The copies without the differences that are text, and without those of less than `least` bytes, or TEXT_MIN of
    text. `programs` are the parts of the base that hold some: there nothing is text.
    """
    other = np.cumsum(~_LETTERS[np.frombuffer(result, np.uint8)], dtype=np.int32)
    other = np.concatenate((np.zeros(1, np.int32), other))

    def is_text(start: Ints, end: Ints) -> NDArray[np.bool_]:
        before, behind = np.maximum(start - _AROUND, 0), np.minimum(end + _AROUND, len(result))
        text: NDArray[np.bool_] = other[behind] == other[before]
        return text

    code = programs.address_of(copies.base) > 0
    kept, rest = copies.where(code), copies.where(~code)
    rest = parted(base, result, rest, is_text)
    short = (rest.length >= TEXT_MIN) & (other[rest.at + rest.length] == other[rest.at])
    return kept.at_least(least).merged(rest.where(short | (rest.length >= least)))


def parted(base: bytes, result: bytes, copies: Copies, runs: Runs) -> Copies:
    """The copies without the differences in them that `runs` chooses. Those with fewer than TEXT_MIN equal bytes
    between them are one.
    """
    old, new = np.frombuffer(base, np.uint8), np.frombuffer(result, np.uint8)
    found = [np.zeros((3, 0), np.int64)]
    for at, place, length in copies.rows():
        differs = np.flatnonzero(old[place : place + length] != new[at : at + length])
        if len(differs):
            fresh = np.flatnonzero(np.diff(differs, prepend=-TEXT_MIN - 1) > TEXT_MIN)
            start, end = differs[fresh], np.append(differs[fresh[1:] - 1], differs[-1]) + 1
            chosen = runs(start + at, end + at)
            start, end = np.append(start[chosen], length), np.concatenate(([0], end[chosen]))
            found.append(np.array((end + at, end + place, start - end)))
        else:
            found.append(np.array([[at], [place], [length]]))
    return Copies(*np.concatenate(found, axis=1)).at_least(1)
