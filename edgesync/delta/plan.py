"""What a delta between two images is made of: an alignment, and tables for the references in it.

Server only. There are several ways to align two images, and none is best for all: each is encoded, and the smallest is
kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgesync.delta import atlas, btf_order
from edgesync.delta.addresses import NO_STEPS, Tables
from edgesync.delta.align import align, realign
from edgesync.delta.btf_order import Types
from edgesync.delta.chapter import Chapter, moves_between
from edgesync.delta.copies import Copies
from edgesync.delta.corrections import correct
from edgesync.delta.format import COPIES_LIMIT, LENGTH_LIMIT, PIECES_LIMIT, REGIONS_LIMIT, SEGMENT, derived_at
from edgesync.delta.layout import Layout, layout
from edgesync.delta.pair import Pair
from edgesync.delta.texts import COPY_MIN, TEXT_MIN, edited, parted
from edgesync.delta.weighed import weighed

_FEW, _MANY = 256, 4096
"""Copies between images without programs: where there are more than few, those are also tried that are worth their
price; where there are not many, those without any difference in them."""
REALIGNMENTS = 2
"""Rounds of alignment on absolute references: each takes as long as the first alignment, and a third gains nothing."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Copies over whole images, the tables of both, and their type information if copies come from what it derives."""

    copies: Copies
    known: Layout
    types: Types | None = None


def variants(base: bytes, result: bytes, *, derive: bool = True) -> Iterator[Alignment]:
    """Alignments that are worth a try. With programs in both images, each is better for most than the one before."""
    found = btf_order.types(base, result) if derive else None
    old, new = btf_order.without(found, base, result) if found else (base, result)
    copies = align(old, new)
    known = layout(base, result, copies)
    yield Alignment(_with_types(base, edited(old, new, copies, known.base), found), known, found)
    if len(known.bias):
        for _ in range(REALIGNMENTS):
            copies = realign(old, new, copies, known)
        yield Alignment(_with_types(base, edited(old, new, copies, known.base), found), known, found)
        return
    if len(copies.at) > _FEW:
        worth = edited(old, new, weighed(old, new, copies), known.base, TEXT_MIN)
        yield Alignment(_with_types(base, worth, found), known, found)
    exact = parted(old, new, copies, lambda start, _end: start >= 0).at_least(COPY_MIN)
    if len(exact.at) <= _MANY:
        yield Alignment(_with_types(base, exact, found), known, found)


def chapters(pair: Pair, copies: Copies, known: Layout) -> Iterator[tuple[Copies, Layout, range]]:
    """The copies of each chapter, what it must know of programs, and the numbers of its segments."""
    first, segments = 0, -(-pair.result_length // SEGMENT)
    edges = np.arange(segments) * SEGMENT
    before = np.searchsorted(copies.at, edges)
    behind = np.searchsorted(copies.at, np.minimum(edges + SEGMENT, pair.result_length))
    while first < segments:
        # A copy that an edge cuts in two is counted on both sides.
        end = first + max(1, int((behind[first:] - before[first] < COPIES_LIMIT).sum()))
        end, programs = _end(known, first, end, pair.result_length)
        start = first * SEGMENT
        part = copies.window(start, min(end * SEGMENT, pair.result_length))
        yield Copies(part.at + start, part.base, part.length), programs, range(first, end)
        first = end


def tables(pair: Pair, copies: Copies, known: Layout, types: Types | None) -> Chapter:
    """A chapter with all that a board must know. Raises StorageError."""
    moves = moves_between(copies, known.base, known.result, pair.base_length, pair.result_length)
    plain = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    stored = copies.within(pair.base_length)
    how = types.how if types and len(stored.at) < len(copies.at) else None
    return Chapter(copies, correct(pair, stored, plain, known), how)


def _with_types(base: bytes, copies: Copies, found: Types | None) -> Copies:
    """The copies with one that takes the type information from what is derived."""
    if not found:
        return copies
    start, end = found.result_at, found.result_at + min(found.how.length, found.result_length)
    before, behind = copies.window(0, start), copies.window(end, LENGTH_LIMIT)
    return Copies(
        np.concatenate((before.at, [start], behind.at + end)),
        np.concatenate((before.base, [derived_at(len(base))], behind.base)),
        np.concatenate((before.length, [end - start], behind.length)),
    )


def _end(known: Layout, first: int, end: int, length: int) -> tuple[int, Layout]:
    """Where the chapter from segment `first` on ends, at `end` at the latest, so that its tables have room for its
    programs, and few bytes of programs are cut off; and these programs.
    """

    def too_many(end: int) -> bool:
        part = atlas.reaching(known, first * SEGMENT, end * SEGMENT)
        pieces = max(len(part.base.offset), len(part.result.offset))
        return pieces > PIECES_LIMIT or len(part.base_regions.start) > REGIONS_LIMIT

    if too_many(end):
        end = first + bisect_left(range(first + 1, end), True, key=too_many)
        if end == first:  # one segment with parts of thousands of programs: none is predicted
            return first + 1, atlas.chosen(known, np.zeros(len(known.bias), np.bool_))
    if end * SEGMENT < length:
        edges = np.arange(end, first + (end - first) * 3 // 4, -1)
        start, behind = atlas.spans(known, length)
        cut = (start < SEGMENT * edges[:, None]) & (SEGMENT * edges[:, None] < behind)
        end = int(edges[(cut * (behind - start)).sum(axis=1).argmin()])
    return end, atlas.reaching(known, first * SEGMENT, end * SEGMENT)
