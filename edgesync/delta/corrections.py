"""What to add to the addresses of moved targets where the alignment has them wrong: tables that the linker wrote anew
(PLT, GOT) and memory that no file fills.

Server only. The references themselves say where their targets went: where an instruction of the result refers to is
compared with where the moves say that it should.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from edgesync.delta import kinds, references
from edgesync.delta.addresses import Space, Tables
from edgesync.delta.align import itself, places
from edgesync.delta.copies import Copies, Steps
from edgesync.delta.disk import read_base, read_into
from edgesync.delta.format import CORRECTIONS_LIMIT, WORD
from edgesync.delta.layout import Layout
from edgesync.delta.pair import Pair
from edgesync.delta.segment import source_of
from edgesync.delta.varint import Ints

_LEAST = 20
"""References that a step must make right: it costs three bytes, and wrong references to one thing stand side by side in
the corrections of the segments, where they cost little. On two pairs 8 and 50 make deltas 0 to 0.5 % larger, 3 makes
them 7 to 11 % larger."""
_HELD = 1 << 22
"""References in memory before equal ones are counted."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Addresses in the base that something refers to, what the same words of the result refer to, and how many do."""

    target: Ints
    seen: Ints
    count: Ints


def correct(pair: Pair, copies: Copies, tables: Tables, known: Layout) -> Tables:
    """The same tables with the corrections that make most references right. Raises StorageError."""
    return replace(tables, corrections=_steps(_observe(pair, copies, tables, itself(known)), tables))


def _observe(pair: Pair, copies: Copies, there: Tables, here: Tables) -> Seen:
    """What the references of the result say. `there` are the tables from base to result; with `here` the result is its
    own base.
    """
    parts, held = list[Seen](), 0
    with pair.opened() as (base, result):
        for start in _pages(copies, here.result):
            count = min(kinds.PAGE, pair.result_length // WORD - start)
            window = copies.window(WORD * start, WORD * (start + count))
            source = source_of(window, count)
            before, page = np.zeros(count, "<u4"), np.zeros(count, "<u4")
            for at, place, length in window.rows():
                read_base(base, before.view(np.uint8).data[at : at + length], place)
            before[source < 0] = 0
            read_into(result, page.view(np.uint8).data, WORD * start, pair.result)
            first = references.find(before, source, there)
            second = references.find(page, places(start, count), here)
            same = (first.kind == second.kind) & (first.kind != kinds.PLAIN) & (first.kind != kinds.NAME)
            parts.append(Seen(first.target[same], second.target[same], np.ones(int(same.sum()), np.int64)))
            held += len(parts[-1].target)
            if held > _HELD:
                parts, held = [_counted(parts)], 0
    return _counted(parts)


def _pages(copies: Copies, space: Space) -> list[int]:
    """First word of each page of the result in which there are copies and programs."""
    if not len(copies.at):
        return []
    first, last = int(copies.at[0]) // WORD, int(copies.at[-1] + copies.length[-1]) // WORD
    start = np.arange(first // kinds.PAGE * kinds.PAGE, last, kinds.PAGE)
    before = np.searchsorted(space.offset + space.length, WORD * start, side="right")
    behind = np.searchsorted(space.offset, WORD * (start + kinds.PAGE))
    return list(start[behind > before].tolist())


def _counted(parts: list[Seen]) -> Seen:
    """Each pair of target and what was seen once, with its count, ascending."""
    target, seen, count = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, field.name) for part in parts)])
        for field in fields(Seen)
    )
    order = np.lexsort((seen, target))
    target, seen, count = target[order], seen[order], count[order]
    fresh = np.flatnonzero(
        np.concatenate(([True], (target[1:] != target[:-1]) | (seen[1:] != seen[:-1])))[: len(target)]
    )
    return Seen(target[fresh], seen[fresh], np.add.reduceat(count, fresh) if len(fresh) else count)


def _steps(observed: Seen, tables: Tables) -> Steps:
    """What to add from which target on, so that most of the observed ones are right."""
    moved = tables.moved(observed.target, corrected=False)
    known = moved > 0
    target, shift, count = observed.target[known], (observed.seen - moved)[known], observed.count[known]
    if not len(target):
        return Steps(target, shift)
    # Of the shifts that were seen for one target, the most frequent.
    order = np.lexsort((count, target))
    last = np.append(target[order][1:] != target[order][:-1], True)
    target, shift, count = target[order][last], shift[order][last], count[order][last]
    # Neighbours with one shift are one step, which must be worth its place: too few references, and it is left out.
    run = np.cumsum(np.diff(shift, prepend=shift[0]) != 0)
    keep = np.bincount(run, count)[run] >= _LEAST
    target, shift = target[keep], shift[keep]
    change = np.flatnonzero(np.diff(shift, prepend=0))[:CORRECTIONS_LIMIT]
    return Steps(target[change], shift[change])
