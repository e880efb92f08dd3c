"""Where references go, without numpy: the tables of a chapter, looked up one number at a time.

`Space`, `Steps` and `Tables` mean what they mean in `addresses` and `copies`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add

from edgesync.delta.kinds import FILE_SHIFT, SLACK
from edgesync.delta.plain import Rows
from edgesync.delta.tables import Columns, signed

NEVER = 1 << 62
"""Behind every offset."""


class Space:
    """The pieces of one image."""

    def __init__(self, offset: Sequence[int], length: Sequence[int], address: Sequence[int]) -> None:
        self.offset, self.length, self.address = offset, length, address
        self._order = array("i", sorted(range(len(address)), key=address.__getitem__))
        self._sorted = array("q", (address[row] for row in self._order))

    def piece_of(self, offset: int) -> tuple[int, int]:
        """The address of an offset (0 for none), and the offset up to which that goes on."""
        row = bisect_right(self.offset, offset) - 1
        if row >= 0:
            inside = offset - self.offset[row]
            if inside < self.length[row]:
                return self.address[row] + inside, self.offset[row] + self.length[row]
        return 0, self.offset[row + 1] if row + 1 < len(self.offset) else NEVER

    def address_of(self, offset: int) -> int:
        """0 for a byte without an address."""
        return self.piece_of(offset)[0]

    def offset_of(self, address: int) -> int:
        """-1 for an address where nothing is."""
        row = bisect_right(self._sorted, address) - 1
        if row < 0:
            return -1
        piece = self._order[row]
        inside = address - self.address[piece]
        return self.offset[piece] + inside if inside < self.length[piece] + SLACK else -1


@dataclass(frozen=True, slots=True)
class Steps:
    """What is added to a number, from which one on."""

    start: array[int]
    shift: array[int]

    def at(self, value: int) -> int:
        """What is added to a value."""
        row = bisect_right(self.start, value) - 1
        return self.shift[row] if row >= 0 else 0


@dataclass(frozen=True, slots=True)
class Regions:
    """What the base holds."""

    start: Sequence[int]
    kind: Sequence[int]
    anchor: Sequence[int]
    result_anchor: Sequence[int]


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is known about references."""

    base: Space
    result: Space
    moves: Steps
    corrections: Steps
    regions: Regions
    bias: Sequence[int]

    def moved(self, target: int, *, corrected: bool) -> int:
        """The address in the result of an address in the base; 0 where that is not known."""
        offset = self.base.offset_of(target)
        if offset < 0:
            return 0
        moved = self.result.address_of(offset + self.moves.at(offset))
        if moved <= 0 or moved >> FILE_SHIFT != target >> FILE_SHIFT:
            return 0
        return signed(moved + self.corrections.at(target)) if corrected else moved


def tables_of(rows: Rows, columns: Columns, lengths: tuple[int, int]) -> Tables:
    """The tables of a chapter with these copies, between images of these lengths."""
    moves = moves_of(rows.within(lengths[0]))
    # Memory that no file fills is behind the images, piece by piece.
    old = [at for at in columns.base[0] if at >= lengths[0]]
    new = [at for at in columns.result[0] if at >= lengths[1]]
    for before, after in zip(old, new, strict=True):
        moves.start.append(before)
        moves.shift.append(after - before)
    return Tables(
        Space(*columns.base),
        Space(*columns.result),
        moves,
        Steps(*columns.corrections),
        Regions(*columns.regions),
        columns.bias,
    )


def moves_of(rows: Rows) -> Steps:
    """Where each byte of the base is in the result, as `copies.moves_of` finds it."""
    ends = array("q", map(add, rows.base, rows.length))
    edges = array("q", sorted({*rows.base, *ends}))
    first, last = (array("i", (bisect_left(edges, place) for place in column)) for column in (rows.base, ends))
    by_length = array("i", sorted(range(len(rows.at)), key=lambda row: -rows.length[row]))
    start, shift = array("q"), array("q")
    for edge, row in zip(edges, owners(first, last, by_length, len(edges)), strict=True):
        if row >= 0 and (not shift or shift[-1] != rows.at[row] - rows.base[row]):
            start.append(edge)
            shift.append(rows.at[row] - rows.base[row])
    return Steps(start, shift)


def owners(first: Sequence[int], last: Sequence[int], order: Iterable[int], count: int) -> array[int]:
    """To which row each of `count` intervals belongs, -1 for none. Row r claims those from first[r] to last[r]; what
    two claim belongs to the one that is first in `order`.
    """
    # `free` leads from each interval to the next one that is free, so none is visited twice.
    free, owner = array("i", range(count + 1)), array("i", [-1]) * count
    for row in order:
        place, end = _next(free, first[row]), last[row]
        while place < end:
            owner[place], free[place] = row, place + 1
            place = _next(free, place + 1)
    return owner


def _next(free: array[int], place: int) -> int:
    """The first free interval from `place` on; what was passed on the way leads there at once the next time."""
    while free[place] != place:
        free[place] = free[free[place]]
        place = free[place]
    return place
