"""All behind the header of a delta: chapters and segments, each encoded by whichever process is free.

Server only.
"""

from __future__ import annotations

import functools

from edgesync.delta import chapter, plan, segment
from edgesync.delta.chapter import Chapter
from edgesync.delta.crew import Crew, Report, Task
from edgesync.delta.disk import read_base
from edgesync.delta.format import SEGMENT, Counts, derived_at, encode_chapter
from edgesync.delta.pair import Pair
from edgesync.delta.plan import Alignment
from edgesync.delta.ranges import ranges

_RUN = 8
"""Segments that are encoded in one go: the tables, at most 7 MiB, travel to the worker each time."""
_MEMORY = 128 << 20
"""Bytes that a segment or the corrections of a chapter take at most."""


def encode(crew: Crew, pair: Pair, alignment: Alignment, report: Report, *, mixing: bool = False) -> bytes:
    """The chapters of a delta with this alignment; with `mixing`, what the context-mixing coder packs smaller is packed
    with it. Raises StorageError.
    """
    types = alignment.types
    cut = list(plan.chapters(pair, alignment.copies, alignment.known))
    chapters = crew.run(
        [Task(plan.tables, (pair, part, programs, types), _MEMORY, 0) for part, programs, _ in cut], _nothing
    )
    tasks = [
        Task(
            functools.partial(encode_run, mixing=mixing),
            (pair, tables, numbers[at : at + _RUN], types.data if types and tables.derivation else b""),
            _MEMORY,
            len(numbers[at : at + _RUN]) * SEGMENT,
        )
        for tables, (_, _, numbers) in zip(chapters, cut, strict=True)
        for at in range(0, len(numbers), _RUN)
    ]
    done = iter(crew.run(tasks, report))
    body = []
    for tables, (_, _, numbers) in zip(chapters, cut, strict=True):
        segments = [coded for _ in range(0, len(numbers), _RUN) for coded in next(done)]
        lengths = pair.base_length, pair.result_length
        body.append(chapter.encode(tables, numbers.start, segments, lengths, mixing=mixing))
    return b"".join(body)


def unchanged(length: int) -> bytes:
    """All behind the header of a delta of `length` bytes from an image to itself."""
    segments = -(-length // SEGMENT)
    return encode_chapter(Counts(segments, 0, None), {}, [b""] * segments) if segments else b""


def encode_run(pair: Pair, tables: Chapter, numbers: range, derived: bytes, *, mixing: bool) -> list[bytes]:
    """The segments with these numbers; `derived` is what copies may come from besides the base."""
    coded = []
    behind = derived_at(pair.base_length)
    with pair.opened() as (base, result):

        def read(view: memoryview, offset: int) -> None:
            if offset < behind:
                read_base(base, view, offset)
            else:
                view[:] = derived[offset - behind : offset - behind + len(view)]

        for offset in (number * SEGMENT for number in numbers):
            wanted = ranges([(offset, min(SEGMENT, pair.result_length - offset))]).read(result, pair.result)
            coded.append(segment.encode(tables, wanted, offset, read, mixing=mixing))
    return coded


def _nothing(_done: int, _total: int) -> None:
    """Progress of what is too short to tell."""
