"""Where the bytes of an image are when it runs: the address table that the server sends, so that a board needs to
know nothing of ELF or of file systems.

An address is one number: the file's number (from 1) above 40 bits of what the program itself calls the address. So
addresses of different programs never mix, and one sorted table serves a whole root file system. 0 is no address.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgesync.delta.copies import Steps
from edgesync.delta.kinds import FILE_SHIFT, SLACK
from edgesync.delta.order import last_before
from edgesync.delta.varint import Ints


@dataclass(frozen=True, slots=True)
class Space:
    """The pieces of one image, int64 arrays of shape (n,): `offset` and `length` in bytes of the image, ascending and
    not overlapping, and the `address` of each.

    Memory that no file fills (.bss) has pieces behind the end of the image.
    """

    offset: Ints
    length: Ints
    address: Ints
    _order: Ints = field(init=False)
    _sorted: Ints = field(init=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.address, kind="stable")
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_sorted", self.address[order])

    def address_of(self, offsets: Ints) -> Ints:
        """0 for bytes without an address."""
        if not len(self.offset):
            return np.zeros(len(offsets), np.int64)
        piece = np.maximum(last_before(self.offset, offsets), 0)
        inside = offsets - self.offset[piece]
        return np.where((inside >= 0) & (inside < self.length[piece]), self.address[piece] + inside, 0)

    def offset_of(self, addresses: Ints) -> Ints:
        """-1 for an address where nothing is."""
        if not len(self.offset):
            return np.full(len(addresses), -1, np.int64)
        piece = self._order[np.maximum(last_before(self._sorted, addresses), 0)]
        inside = addresses - self.address[piece]
        return np.where((inside >= 0) & (inside < self.length[piece] + SLACK), self.offset[piece] + inside, -1)


@dataclass(frozen=True, slots=True)
class Regions:
    """What the base holds from each `start` (ascending, in bytes) to the next, shape (n,).

    `anchor` and `result_anchor` are addresses in the base and in the result, for OFFSETS and SYMBOLS.
    """

    start: Ints
    kind: Ints
    anchor: Ints
    result_anchor: Ints

    def of(self, offsets: Ints) -> Ints:
        """Indices into the arrays; -1 before the first region."""
        return np.broadcast_to(last_before(self.start, offsets), offsets.shape)


@dataclass(frozen=True, slots=True)
class Tables:
    """All that a board is told about references: both address tables, what moved where, what to add to the address of
    a moved target, what the base holds, and what each file adds to an address in a pointer, modulo 2**64.
    """

    base: Space
    result: Space
    moves: Steps
    corrections: Steps
    regions: Regions
    bias: Ints

    def moved(self, targets: Ints, *, corrected: bool = True) -> Ints:
        """Addresses in the result of addresses in the base; 0 where that is not known."""
        offsets = self.base.offset_of(targets)
        moved = self.result.address_of(self.moves(offsets))
        known = (offsets >= 0) & (moved > 0) & (moved >> FILE_SHIFT == targets >> FILE_SHIFT)
        if corrected:
            moved = moved + self.corrections(targets) - targets
        return np.where(known, moved, 0)


_NOTHING = np.zeros(0, np.int64)
_NOWHERE = Space(_NOTHING, _NOTHING, _NOTHING)
NO_STEPS = Steps(_NOTHING, _NOTHING)
NO_TABLES = Tables(_NOWHERE, _NOWHERE, NO_STEPS, NO_STEPS, Regions(_NOTHING, _NOTHING, _NOTHING, _NOTHING), _NOTHING)
"""Of images without programs."""
