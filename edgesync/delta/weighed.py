"""Copies between images that are not understood, weighed by what they save: bsdiff takes each with eight equal bytes
more than the one before it, and goes on until half of the bytes differ.

Server only. Rows of the table of copies, differences and new bytes all have their price. Where code was compiled anew
there are tens of thousands of copies, and half of them cost more than they save.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.copies import Copies

_SHORT = 400
"""Bytes of the longest copy that gives way to the one beside it."""
_LESS = 8
"""Equal bytes that it may cost: as many as a row of the table."""
_LOSS = 1.25
"""Equal bytes that a differing one undoes."""
_FALL, _WORTH = 16, 20
"""A copy ends where it has lost so many equal bytes again, and is sent if so many are left."""

Bytes = NDArray[np.uint8]
Row = tuple[int, int, int]


def weighed(base: bytes, result: bytes, copies: Copies) -> Copies:
    """The copies of which each is worth its price."""
    old, new = np.frombuffer(base, np.uint8), np.frombuffer(result, np.uint8)
    forward = _copies(_followed(old, new, copies))
    back = _copies(_followed(old[::-1], new[::-1], _mirrored(forward, len(old), len(new))))
    rows = _mirrored(back, len(old), len(new)).rows()
    return _copies([part for row in rows for part in _worthy(old, new, row)])


def _followed(old: Bytes, new: Bytes, copies: Copies) -> list[Row]:
    """The copies without short ones where the one before goes on nearly as well."""
    rows = list[Row]()
    for at, place, length in copies.rows():
        if rows and length <= _SHORT:
            start, source, before = rows[-1]
            end = min(at + length, start + len(old) - source)
            size = end - start - before
            goes_on = _equal(old, new, (start + before, source + before, size)) if size > 0 else 0
            if goes_on >= _equal(old, new, (at, place, length)) - _LESS and 2 * goes_on >= size > 0:
                rows[-1] = start, source, end - start
                continue
        rows.append((at, place, length))
    return rows


def _worthy(old: Bytes, new: Bytes, row: Row) -> Iterator[Row]:
    """The parts of a copy that are worth it."""
    at, place, length = row
    differs = np.flatnonzero(old[place : place + length] != new[at : at + length]).tolist()
    start = behind = end = 0
    score = best = 0.0
    for stop in (*differs, length):
        score += stop - behind
        if score > best:
            best, end = score, stop
        behind, score = stop + 1, score - _LOSS
        if score < max(best - _FALL, 0) or stop == length:
            if best >= _WORTH:
                yield at + start, place + start, end - start
            start, score, best = behind, 0.0, 0.0


def _equal(old: Bytes, new: Bytes, row: Row) -> int:
    at, place, length = row
    return int(np.count_nonzero(old[place : place + length] == new[at : at + length]))


def _mirrored(copies: Copies, base_length: int, result_length: int) -> Copies:
    """The same copies between images that are read from the end."""
    at, place = result_length - copies.at - copies.length, base_length - copies.base - copies.length
    return Copies(at[::-1], place[::-1], copies.length[::-1])


def _copies(rows: list[Row]) -> Copies:
    return Copies(*np.array(rows, np.int64).reshape(-1, 3).T.copy())
