"""Which ranges of the result are taken from the base, and what that says about where things moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesync.delta import plaintables
from edgesync.delta.order import distinct, last_before
from edgesync.delta.varint import Ints


@dataclass(frozen=True, slots=True)
class Copies:
    """Ranges of the result that come from the base, in the order of the result, not overlapping there.

    int64 arrays, shape (n,), in bytes: `at` counts from the start of the result (of a segment after `window`), `base`
    from the start of the base.
    """

    at: Ints
    base: Ints
    length: Ints

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """One after the other: as lists they would take ten times the memory of the arrays."""
        return zip(self.at.data, self.base.data, self.length.data, strict=True)

    def window(self, start: int, end: int) -> Copies:
        """The same copies as seen from `start`, cut to `start`..`end`."""
        first = np.searchsorted(self.at + self.length, start, side="right")
        last = max(first, np.searchsorted(self.at, end))
        at, base, length = self.at[first:last], self.base[first:last], self.length[first:last]
        cut = np.maximum(start - at, 0)
        return Copies(at + cut - start, base + cut, np.minimum(at + length, end) - at - cut)

    def within(self, base_length: int) -> Copies:
        """Without the copies that begin behind the base: those of what is derived."""
        return self.where(self.base < base_length)

    def at_least(self, length: int) -> Copies:
        """Without the copies that are shorter than `length` bytes."""
        return self.where(self.length >= length)

    def where(self, keep: NDArray[np.bool_]) -> Copies:
        """Only those that the mask keeps."""
        return Copies(self.at[keep], self.base[keep], self.length[keep])

    def merged(self, other: Copies) -> Copies:
        """Both, of which none overlaps one of the other, in the order of the result."""
        at, base, length = (np.concatenate((getattr(self, n), getattr(other, n))) for n in ("at", "base", "length"))
        order = np.argsort(at, kind="stable")
        return Copies(at[order], base[order], length[order])


@dataclass(frozen=True, slots=True)
class Steps:
    """A function of whole numbers: `shift[i]` is added from `start[i]` on, up to the next; nothing before the first.

    int64 arrays, shape (n,), `start` ascending.
    """

    start: Ints
    shift: Ints

    def __call__(self, values: Ints) -> Ints:
        if not len(self.start):
            return values
        found = last_before(self.start, values)
        return values + np.where(found >= 0, self.shift[np.maximum(found, 0)], 0)


def moves_of(copies: Copies) -> Steps:
    """Where each byte of the base is in the result. Of copies that share bytes of the base the longest counts (of
    equal ones the first), and what was not copied moves with what is before it.
    """
    count = len(copies.at)
    if not count:
        return Steps(copies.at, copies.at)
    edges = distinct(np.concatenate((copies.base, copies.base + copies.length)))
    first = np.searchsorted(edges, copies.base)
    last = np.searchsorted(edges, copies.base + copies.length)
    by_length = np.argsort(-copies.length, kind="stable")
    owners = np.frombuffer(plaintables.owners(first.data, last.data, by_length.data, len(edges)), np.int32)
    taken = owners >= 0
    start, shift = edges[taken], (copies.at - copies.base)[owners[taken]]
    fresh = np.concatenate(([True], shift[1:] != shift[:-1]))
    return Steps(start[fresh], shift[fresh])
