"""What a delta between two images is made of: an alignment, and tables for the references in it.

Server only. There are several ways to align two images, and none is best for all: each is encoded, and the smallest is
kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesync.delta.addresses import NO_STEPS, Tables
from edgesync.delta.align import align, realign
from edgesync.delta.chapter import Chapter, moves_between
from edgesync.delta.copies import Copies
from edgesync.delta.corrections import correct
from edgesync.delta.format import COPIES_LIMIT, SEGMENT
from edgesync.delta.layout import Layout, layout

COPY_MIN = 16
"""Bytes of the shortest copy that is sent: a shorter one costs more in the tables than it saves."""
REALIGNMENTS = 2
"""Rounds of alignment on absolute references: each takes as long as the first alignment, and a third gains nothing."""


def variants(base: bytes, result: bytes) -> Iterator[tuple[Copies, Layout]]:
    """Alignments that are worth a try, each better for most images than the one before."""
    copies = align(base, result)
    known = layout(base, result, copies)
    yield copies, known
    if len(known.bias):
        for _ in range(REALIGNMENTS):
            copies = realign(base, result, copies, known)
        yield copies, known


def chapters(base: bytes, result: bytes, copies: Copies, known: Layout) -> Iterator[tuple[Chapter, range]]:
    """Each chapter with the numbers of its segments."""
    first, segments = 0, -(-len(result) // SEGMENT)
    edges = np.arange(segments) * SEGMENT
    before = np.searchsorted(copies.at, edges)
    behind = np.searchsorted(copies.at, np.minimum(edges + SEGMENT, len(result)))
    while first < segments:
        # A copy that an edge cuts in two is counted on both sides.
        start = first * SEGMENT
        end = first + max(1, int((behind[first:] - before[first] < COPIES_LIMIT).sum()))
        part = copies.window(start, min(end * SEGMENT, len(result))).at_least(COPY_MIN)
        yield _chapter(base, result, Copies(part.at + start, part.base, part.length), known), range(first, end)
        first = end


def _chapter(base: bytes, result: bytes, copies: Copies, known: Layout) -> Chapter:
    moves = moves_between(copies, known.base, known.result, len(base), len(result))
    tables = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    return Chapter(copies, correct(base, result, copies, tables, known))
