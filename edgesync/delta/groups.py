"""What is left to align of two images once equal chunks are known: pairs of files that changed, and the rest.

Server only and pure. A file that changed is aligned as a whole, so that its references can be followed; small ones
share a group with their neighbours. What is in no such file is aligned with what no chunk of the base was taken for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgesync.delta.copies import Copies
from edgesync.delta.ranges import Ranges, together, union
from edgesync.delta.trees import File
from edgesync.delta.varint import Ints

WHOLE = 104 << 20
"""Bytes of the longest file that is aligned as a whole."""
BATCH = 8 << 20
"""Bytes of small files that are aligned together: more take longer, and find little more."""
WINDOW = 16 << 20
"""Bytes of the rest of the result that are aligned at once, with twice as many of the base."""


@dataclass(frozen=True, slots=True)
class Group:
    """Views of both images that are aligned with each other."""

    base: Ranges
    result: Ranges

    @property
    def memory(self) -> int:
        """Bytes that it takes at most: the suffix sort of the base, and some copies of both."""
        return 22 * self.base.total + 8 * self.result.total + (64 << 20)


@dataclass(frozen=True, slots=True)
class Side:
    """One image: its length in bytes, its files, and what of it is not worth a search."""

    length: int
    files: Sequence[File]
    blank: Ranges

    def without(self, *others: Ranges) -> Ranges:
        """What is in none of these ranges, and not blank."""
        left = union(np.zeros(1, np.int64), np.array([self.length]))
        for other in (self.blank, *others):
            left = left.minus(other)
        return left


def divide(base: Side, result: Side, equal: Copies, is_program: Callable[[File], bool]) -> tuple[Copies, list[Group]]:
    """The copies of equal chunks that stay, and the groups in which to look for more. No chunk crosses the edge of a
    file, and no file of the result shares a byte with another.
    """
    pairs = [
        pair
        for pair in _pairs(base.files, _changed(result.files, equal), equal)
        if max(file.ranges.total for file in pair) <= WHOLE
    ]
    searched, known = (_bytes_of([pair[side] for pair in pairs]) for side in (1, 0))
    stay = ~searched.holds(equal.at)
    kept = Copies(equal.at[stay], equal.base[stay], equal.length[stay])
    rest = result.without(searched, union(kept.at, kept.length))
    unused = base.without(known, union(kept.base, kept.length))
    groups = [
        *_batches([pair for pair in pairs if is_program(pair[1])]),
        *_batches([pair for pair in pairs if not is_program(pair[1])]),
        *_windows(rest, unused, equal),
    ]
    return kept, groups


def _bytes_of(files: Sequence[File]) -> Ranges:
    stored = together(file.ranges.stored() for file in files)
    return union(stored.offset, stored.length)


def _changed(files: Sequence[File], equal: Copies) -> list[File]:
    """Files of which chunks do not make all."""
    before = np.concatenate(([0], np.cumsum(equal.length)))

    def found(offset: Ints) -> Ints:
        """Bytes that chunks make before each offset."""
        last = np.searchsorted(equal.at, offset, side="right")
        inside = np.minimum(offset - equal.at[last - 1], equal.length[last - 1]) if len(equal.at) else offset
        return np.where(last > 0, before[last - 1] + inside, 0)

    stored = [file.ranges.stored() for file in files]
    every = together(stored)
    missing = every.length - found(every.offset + every.length) + found(every.offset)
    owner = np.repeat(np.arange(len(files)), [len(part.offset) for part in stored])
    return [files[number] for number in np.unique(owner[missing > 0]).tolist()]


def _pairs(olds: Sequence[File], news: Sequence[File], equal: Copies) -> list[tuple[File, File]]:
    """For each new file the old one that it is most likely to come from: of the same path; of the same path but for
    numbers, which are versions mostly; with the same chunks; of the same name but for numbers. In the order of paths.
    """
    keys: tuple[Callable[[File], str], ...] = (lambda file: file.path, _unnumbered, _name)
    tables = [defaultdict[str, list[File]](list) for _ in keys]
    for old in olds:
        for key, table in zip(keys, tables, strict=True):
            table[key(old)].append(old)
    origin = _origins(olds, equal)
    pairs = []
    for new in sorted(news, key=lambda file: file.path):
        same, numbered, named = (table.get(key(new), []) for key, table in zip(keys, tables, strict=True))
        likely = same or numbered or origin(new) or named
        if likely:
            pairs.append((min(likely, key=lambda old: abs(old.ranges.total - new.ranges.total)), new))
    return pairs


def _unnumbered(file: File) -> str:
    return re.sub(r"\d+", "0", file.path)


def _name(file: File) -> str:
    return _unnumbered(file).rpartition("/")[2]


def _origins(olds: Sequence[File], equal: Copies) -> Callable[[File], list[File]]:
    """A function that gives the old file with which a new one has most bytes in common, in a list; or nothing."""
    stored = [old.ranges.stored() for old in olds]
    every = together(stored)
    owner = np.repeat(np.arange(len(olds)), [len(part.offset) for part in stored])
    order = np.argsort(every.offset, kind="stable")
    start, owner = every.offset[order], owner[order]

    def origin(new: File) -> list[File]:
        inside = new.ranges.stored()
        inside = union(inside.offset, inside.length)
        at = np.flatnonzero(inside.holds(equal.at))
        if not len(at) or not len(start):
            return []
        found = owner[np.maximum(np.searchsorted(start, equal.base[at], side="right") - 1, 0)]
        return [olds[int(np.bincount(found, equal.length[at]).argmax())]]

    return origin


def _batches(pairs: Sequence[tuple[File, File]]) -> Iterator[Group]:
    batch, size = list[tuple[File, File]](), 0
    for pair in pairs:
        more = max(file.ranges.total for file in pair)
        if batch and size + more > BATCH:
            yield _group(batch)
            batch, size = [], 0
        batch.append(pair)
        size += more
    if batch:
        yield _group(batch)


def _group(pairs: Sequence[tuple[File, File]]) -> Group:
    olds = {id(old): old.ranges for old, _ in pairs}  # several new files may come from one
    return Group(together(olds.values()), together(new.ranges for _, new in pairs))


def _windows(rest: Ranges, unused: Ranges, equal: Copies) -> Iterator[Group]:
    """Parts of the rest, each with the part of the base that lies where the chunks around it were found."""
    if not unused.total:
        return
    for start in range(0, rest.total, WINDOW):
        part = rest.part(start, WINDOW)
        ends = _expected(np.array([part.offset[0], part.offset[-1] + part.length[-1]]), equal)
        middle = int(np.searchsorted(unused.offset, ends).clip(1, len(unused.offset)).mean()) - 1
        first = min(int(unused.before[middle]) - WINDOW, unused.total - 2 * WINDOW)
        yield Group(unused.part(max(0, first), 2 * WINDOW), part)


def _expected(offsets: Ints, equal: Copies) -> Ints:
    """Where in the base what is at these offsets of the result might be."""
    if not len(equal.at):
        return offsets
    last = np.maximum(np.searchsorted(equal.at, offsets, side="right") - 1, 0)
    return offsets - equal.at[last] + equal.base[last]
