"""What to add to the addresses of moved targets where the alignment has them wrong: tables that the linker wrote anew
(PLT, GOT) and memory that no file fills.

Server only. The references themselves say where their targets went: where an instruction of the result refers to is
compared with where the moves say that it should.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesync.delta import references
from edgesync.delta.addresses import Tables
from edgesync.delta.align import itself, places
from edgesync.delta.copies import Copies, Steps
from edgesync.delta.format import CORRECTIONS_LIMIT, WORD
from edgesync.delta.layout import Layout
from edgesync.delta.segment import source_of
from edgesync.delta.varint import Ints

_LEAST = 20
"""References that a step must make right: it costs three bytes, and wrong references to one thing stand side by side in
the corrections of the segments, where they cost little. On two pairs 8 and 50 make deltas 0 to 0.5 % larger, 3 makes
them 7 to 11 % larger."""


def correct(base: bytes, result: bytes, copies: Copies, tables: Tables, known: Layout) -> Tables:
    """The same tables with the corrections that make most references right."""
    targets, seen = _observe(base, result, copies, tables, itself(known))
    return replace(tables, corrections=_steps(targets, seen, tables))


def _observe(base: bytes, result: bytes, copies: Copies, there: Tables, here: Tables) -> tuple[Ints, Ints]:
    """Addresses in the base that something refers to, and what the same word of the result refers to.

    `there` are the tables from base to result; with `here` the result is its own base.
    """
    old, new = np.frombuffer(base, "<u4", len(base) // WORD), np.frombuffer(result, "<u4", len(result) // WORD)
    targets, seen = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    first, last = (copies.at[0], copies.at[-1] + copies.length[-1]) if len(copies.at) else (0, 0)
    for start in range(int(first) // WORD // references.PAGE * references.PAGE, int(last) // WORD, references.PAGE):
        page = new[start : start + references.PAGE]
        source = source_of(copies.window(WORD * start, WORD * (start + len(page))), len(page))
        if (source < 0).all():
            continue
        before = np.where(source >= 0, old[np.minimum(source // WORD, len(old) - 1)], 0).astype(np.uint32)
        first = references.find(before, source, there)
        second = references.find(page, places(start, len(page)), here)
        same = (first.kind == second.kind) & (first.kind != references.PLAIN) & (first.kind != references.NAME)
        targets.append(first.target[same])
        seen.append(second.target[same])
    return np.concatenate(targets), np.concatenate(seen)


def _steps(targets: Ints, seen: Ints, tables: Tables) -> Steps:
    """What to add from which target on, so that most of the observed ones are right."""
    moved = tables.moved(targets, corrected=False)
    known = moved > 0
    target, shift = targets[known], (seen - moved)[known]
    order = np.lexsort((shift, target))
    target, shift = target[order], shift[order]
    if not len(target):
        return Steps(target, shift)
    fresh = np.flatnonzero(np.concatenate(([True], (target[1:] != target[:-1]) | (shift[1:] != shift[:-1]))))
    count = np.diff(np.append(fresh, len(target)))
    target, shift = target[fresh], shift[fresh]
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
