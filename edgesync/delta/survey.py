"""Aligning two images of any size: equal chunks first, then group by group what changed, on all cores.

Server only. No image is ever in memory as a whole: a span is while it is cut into chunks, and a group while it is
aligned as if it were a pair of small images (`plan.variants`). What comes out is what `plan` finds for those.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgesync.delta import atlas, chunks, plan, trees, views
from edgesync.delta.chunks import Chunks
from edgesync.delta.copies import Copies
from edgesync.delta.crew import Crew, Task
from edgesync.delta.groups import Group, Side, divide
from edgesync.delta.pair import Pair, opened
from edgesync.delta.plan import Alignment
from edgesync.delta.ranges import Ranges, ranges, together, union
from edgesync.delta.trees import File
from edgesync.delta.views import is_program

SPAN = 64 << 20
"""Bytes of an image that are cut into chunks in one go."""
PhaseProgress = Callable[[str, int, int], None]
"""Takes the name of a phase, and how many bytes of how many of it are done."""


def survey(crew: Crew, pair: Pair, report: PhaseProgress) -> Alignment:
    """An alignment of two images, with what is known of the programs in both."""
    files = []
    for path in (pair.base, pair.result):
        with opened(path) as fd:
            files.append(trees.files(fd))
    cuts = [
        Task(cut_spans, (path, spans), 3 * SPAN, sum(length for _, length in spans))
        for path, length, known in zip(
            (pair.base, pair.result), (pair.base_length, pair.result_length), files, strict=True
        )
        for spans in _spans(length, known)
    ]
    parts = crew.run(cuts, functools.partial(report, "hash"))
    base, result = (
        chunks.joined([part for part, task in zip(parts, cuts, strict=True) if task.arguments[0] == path])
        for path in (pair.base, pair.result)
    )
    with opened(pair.result) as fd:
        kept, groups = divide(
            Side(pair.base_length, files[0], chunks.blank(base)),
            Side(pair.result_length, files[1], chunks.blank(result)),
            chunks.match(base, result),
            functools.partial(is_program, fd),
        )
    # The longest first: the last ones to run should be short.
    groups.sort(key=lambda group: -group.base.total)
    tasks = [Task(align_group, (pair, group), group.memory, group.result.total) for group in groups]
    found = _one_derives(crew, pair, groups, crew.run(tasks, functools.partial(report, "align")))
    copies = _joined([kept, *(each.copies for each in found)])
    known = atlas.joined([each.known for each in found], (pair.base_length, pair.result_length))
    return Alignment(copies, known, next((each.types for each in found if each.types), None))


def cut_spans(path: str, spans: Sequence[tuple[int, int]]) -> Chunks:
    """The chunks of some spans of an image, given as offset and length."""
    with opened(path) as fd:
        return chunks.joined([chunks.cut(ranges([span]).read(fd, path), span[0]) for span in spans])


def align_group(pair: Pair, group: Group, derive: bool = True) -> Alignment:
    """The best alignment of a group, in terms of the images."""
    with pair.opened() as (base_fd, result_fd):
        base, result = group.base.read(base_fd, pair.base), group.result.read(result_fd, pair.result)
    found = plan.variants(base, result, derive=derive)
    best = next(found)
    if len(best.known.bias):  # what is best without programs, only a whole delta tells
        best = next(found)
    return views.placed(best, group.base, group.result, (pair.base_length, pair.result_length))


def _one_derives(crew: Crew, pair: Pair, groups: Sequence[Group], found: Sequence[Alignment]) -> list[Alignment]:
    """The alignments with the type information of one kernel, the longest: a chapter has no room for more."""
    kept = max(found, key=lambda each: each.types.how.length if each.types else -1, default=None)
    again = [number for number, each in enumerate(found) if each.types and each is not kept]
    tasks = [Task(align_group, (pair, groups[number], False), groups[number].memory, 0) for number in again]
    better = dict(zip(again, crew.run(tasks, lambda _done, _total: None), strict=True))
    return [better.get(number, each) for number, each in enumerate(found)]


def _spans(length: int, files: Sequence[File]) -> Iterator[list[tuple[int, int]]]:
    """An image in spans of which none crosses the edge of a file, as many together as make a task."""
    stored = together(file.ranges.stored() for file in files)
    inside = union(stored.offset, stored.length)
    outside = union(np.zeros(1, np.int64), np.array([length])).minus(inside)
    task, size = list[tuple[int, int]](), 0
    for offset, whole in _in_order(together((stored, outside))):
        for start in range(0, whole, SPAN):
            span = offset + start, min(SPAN, whole - start)
            if task and size + span[1] > SPAN:
                yield task
                task, size = [], 0
            task.append(span)
            size += span[1]
    if task:
        yield task


def _in_order(some: Ranges) -> list[tuple[int, int]]:
    return sorted(zip(some.offset.tolist(), some.length.tolist(), strict=True))


def _joined(parts: Sequence[Copies]) -> Copies:
    """All copies in the order of the result; those that go on where the one before ends become one."""
    at, base, length = (np.concatenate([getattr(part, name) for part in parts]) for name in ("at", "base", "length"))
    order = np.argsort(at, kind="stable")
    at, base, length = at[order], base[order], length[order]
    goes_on = (at[1:] == (at + length)[:-1]) & (base[1:] == (base + length)[:-1])
    fresh = np.flatnonzero(np.concatenate(([True], ~goes_on))[: len(at)])
    return Copies(at[fresh], base[fresh], np.add.reduceat(length, fresh) if len(fresh) else length)
