"""What is known of the programs in two images, put together from parts of them, and cut to what a chapter needs.

Server only. All functions take and give tables of whole images (`layout.Layout`), but for `placed`, which makes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.addresses import Regions, Space
from edgesync.delta.kinds import FILE_SHIFT, NONE
from edgesync.delta.layout import Layout
from edgesync.delta.ranges import Ranges, shared
from edgesync.delta.varint import Ints

_APART = 1 << 20
"""Bytes between memory of different parts, so that none reaches into the next."""

Mask = NDArray[np.bool_]


def placed(known: Layout, base: Ranges, result: Ranges, lengths: tuple[int, int]) -> Layout:
    """Tables of two views as tables of the images, which have these lengths."""
    return Layout(
        _placed_space(known.base, base, lengths[0]),
        _placed_space(known.result, result, lengths[1]),
        _placed_regions(known.base_regions, base),
        _placed_regions(known.result_regions, result),
        known.bias,
    )


def joined(parts: Sequence[Layout], lengths: tuple[int, int]) -> Layout:
    """All of them; of programs that share a byte of an image only the first is kept."""
    files = np.cumsum([0, *(len(part.bias) for part in parts)])
    shifts = [int(number) << FILE_SHIFT for number in files[:-1]]
    known = Layout(
        _joined_spaces([part.base for part in parts], shifts, lengths[0]),
        _joined_spaces([part.result for part in parts], shifts, lengths[1]),
        _joined_regions([part.base_regions for part in parts], shifts),
        _joined_regions([part.result_regions for part in parts], shifts),
        np.concatenate([np.zeros(0, np.int64), *(part.bias for part in parts)]),
    )
    keep = np.ones(int(files[-1]) + 1, np.bool_)
    for space in (known.base, known.result):
        keep[shared(space.address >> FILE_SHIFT, Ranges(space.offset, space.length))] = False
    return chosen(known, keep[1:])


def reaching(known: Layout, start: int, end: int) -> Layout:
    """Only the programs that have bytes of the result between `start` and `end`."""
    space = known.result
    inside = (space.offset < end) & (space.offset + space.length > start)
    keep = np.zeros(len(known.bias) + 1, np.bool_)
    keep[space.address[inside] >> FILE_SHIFT] = True
    return chosen(known, keep[1:])


def spans(known: Layout, length: int) -> tuple[Ints, Ints]:
    """Where the bytes of each program begin and end in the result, which has `length` bytes."""
    inside = known.result.offset < length
    offset, size = known.result.offset[inside], known.result.length[inside]
    file = (known.result.address[inside] >> FILE_SHIFT) - 1
    start, end = np.full(len(known.bias), length), np.zeros(len(known.bias), np.int64)
    np.minimum.at(start, file, offset)
    np.maximum.at(end, file, offset + size)
    return start, end


def chosen(known: Layout, keep: Mask) -> Layout:
    """Only the programs that the mask keeps, numbered anew."""
    if keep.all():
        return known
    number = np.concatenate(([0], np.where(keep, np.cumsum(keep), 0)))
    return Layout(
        _chosen_space(known.base, number),
        _chosen_space(known.result, number),
        _chosen_regions(known.base_regions, known.base, number),
        _chosen_regions(known.result_regions, known.result, number),
        known.bias[keep],
    )


def _placed_space(space: Space, view: Ranges, length: int) -> Space:
    inside = space.offset < view.total
    row, done, offset, size = view.spread(space.offset[inside], space.length[inside])
    memory = ~inside
    return _space(
        np.concatenate((offset, space.offset[memory] - view.total + length)),
        np.concatenate((size, space.length[memory])),
        np.concatenate((space.address[inside][row] + done, space.address[memory])),
    )


def _joined_spaces(spaces: Sequence[Space], shifts: Sequence[int], length: int) -> Space:
    nothing = np.zeros(0, np.int64)
    columns, behind = [(nothing, nothing, nothing)], 0
    for space, shift in zip(spaces, shifts, strict=True):
        memory = space.offset >= length
        columns.append((space.offset + np.where(memory, behind, 0), space.length, space.address + shift))
        behind += int((space.offset + space.length)[memory].max(initial=length - _APART)) - length + _APART
    return _space(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _chosen_space(space: Space, number: Ints) -> Space:
    file = space.address >> FILE_SHIFT
    keep = number[file] > 0
    return _space(space.offset[keep], space.length[keep], (space.address + ((number[file] - file) << FILE_SHIFT))[keep])


def _space(offset: Ints, length: Ints, address: Ints) -> Space:
    order = np.argsort(offset, kind="stable")
    return Space(offset[order], length[order], address[order])


# Regions as rows of start, end, kind and both anchors, without those that hold nothing known, shape (n, 5).


def _rows(regions: Regions) -> Ints:
    table = np.stack(
        (regions.start[:-1], regions.start[1:], regions.kind[:-1], regions.anchor[:-1], regions.result_anchor[:-1]), 1
    )
    known: Ints = table[table[:, 2] != NONE]
    return known


def _regions(rows: Ints) -> Regions:
    """Between them, and behind the last, nothing is known. A row that begins inside another is left out."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    rows = rows[np.concatenate(([True], rows[1:, 0] >= np.maximum.accumulate(rows[:, 1])[:-1]))[: len(rows)]]
    ends = rows[:, 1]
    before = np.concatenate(([0], ends[:-1])) if len(rows) else ends
    gaps = before[rows[:, 0] > before]
    last = ends[-1:] if len(rows) else np.zeros(1, np.int64)
    start = np.concatenate((rows[:, 0], gaps, last))
    nothing = np.zeros(len(gaps) + 1, np.int64)
    order = np.argsort(start, kind="stable")
    return Regions(start[order], *(np.concatenate((rows[:, column], nothing))[order] for column in (2, 3, 4)))


def _placed_regions(regions: Regions, view: Ranges) -> Regions:
    rows = _rows(regions)
    row, _, offset, size = view.spread(rows[:, 0], rows[:, 1] - rows[:, 0])
    placed_rows = rows[row]
    placed_rows[:, 0], placed_rows[:, 1] = offset, offset + size
    return _regions(placed_rows)


def _joined_regions(parts: Sequence[Regions], shifts: Sequence[int]) -> Regions:
    tables = [np.zeros((0, 5), np.int64)]
    for part, shift in zip(parts, shifts, strict=True):
        rows = _rows(part)
        rows[:, 3:] += np.where(rows[:, 3:] > 0, shift, 0)
        tables.append(rows)
    return _regions(np.concatenate(tables))


def _chosen_regions(regions: Regions, space: Space, number: Ints) -> Regions:
    rows = _rows(regions)
    file = space.address_of(rows[:, 0]) >> FILE_SHIFT
    rows[:, 3:] += np.where(rows[:, 3:] > 0, ((number[file] - file) << FILE_SHIFT)[:, None], 0)
    return _regions(rows[number[file] > 0])
