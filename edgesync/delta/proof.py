"""Proving a delta before anybody gets it: each segment is decoded as on a board, and compared with the image.

Server only. All processes of the build take part, and nothing of the image is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from edgesync.delta.apply import ChapterSource, Place, output_of, parts_of
from edgesync.delta.crew import Crew, Report, Task
from edgesync.delta.disk import read_blob, size_of
from edgesync.delta.format import HEADER_LIMIT, SEGMENT, ChapterHeader, Header, parse_header
from edgesync.delta.pair import Pair, opened
from edgesync.delta.ranges import ranges
from edgesync.wire.errors import DeltaCorruptError, ResultMismatchError

_RUN = 32
"""Segments that are decoded in one go: the tables of their chapter are read for each run, which may take a second."""
_MEMORY = 128 << 20


def prove(crew: Crew, pair: Pair, delta: str, expected: Header, report: Report) -> None:
    """Raises ResultMismatchError or DeltaCorruptError unless the delta in the file `delta` makes the result."""
    with opened(delta) as blob:
        header, start = parse_header(read_blob(blob, min(HEADER_LIMIT, size_of(blob)), 0))
        parts = list(parts_of(blob, header, start))
    if header != expected:
        raise DeltaCorruptError(f"{delta}: found {header}, expected {expected}")
    tasks = [
        Task(prove_run, (pair, delta, header, chapter, run), _MEMORY, sum(header.output_length(p.number) for p in run))
        for chapter, run in _runs(parts)
    ]
    crew.run(tasks, report)


def prove_run(pair: Pair, delta: str, header: Header, chapter: Place, segments: Sequence[Place]) -> None:
    """Decode and compare some segments of one chapter."""
    assert isinstance(chapter.head, ChapterHeader)
    with pair.opened() as (base, result), opened(delta) as blob:
        source = ChapterSource(base, blob, header, chapter, chapter.head)
        for part in segments:
            offset, output = part.number * SEGMENT, header.output_length(part.number)
            made = output_of(blob, source, part, range(offset, offset + output))
            if made != ranges([(offset, output)]).read(result, pair.result):
                raise ResultMismatchError(f"segment {part.number}: the delta makes other bytes than {pair.result} has")


def _runs(parts: Sequence[Place]) -> Iterator[tuple[Place, Sequence[Place]]]:
    """Each run of segments with its chapter."""
    heads = [number for number, part in enumerate(parts) if isinstance(part.head, ChapterHeader)]
    for head, behind in itertools.pairwise([*heads, len(parts)]):
        for at in range(head + 1, behind, _RUN):
            yield parts[head], parts[at : min(at + _RUN, behind)]
