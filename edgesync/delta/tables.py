"""Reading the tables of a chapter behind its copies: columns of whole numbers, checked. Standard library only.

    types        of each run: fresh ones before it; first of the base - the one behind the run before; how many
    names        the same
    pieces       of base, then of result: bytes before each; length; step of (address - offset); then bias of each file
    regions      step of the start in the base; kind; steps of both anchors
    corrections  step of the first address; step of what is added from there on

All are steps from one row to the next, so that regular tables become runs of equal numbers. Sums may wrap around while
they are read; what is checked is the table that comes out, and nothing is used before.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import add

from edgesync.delta import leb128
from edgesync.delta.format import ADDRESS_LIMIT, LENGTH_LIMIT, NUMBER_LIMIT, PIECES_LIMIT, ChapterHeader, Part
from edgesync.delta.kinds import FILE_SHIFT, SYMBOLS_32
from edgesync.delta.leb128 import unfold

_OFFSET_LIMIT = 2 * LENGTH_LIMIT
"""Pieces that no file fills lie behind the image, so offsets may be larger than any image."""
_ADDRESS_END = (PIECES_LIMIT + 1) << FILE_SHIFT


@dataclass(frozen=True, slots=True)
class Columns:
    """The tables as they stand: rows of `base`, `result` (offset, length, address), `regions` (start, kind, anchor,
    result anchor) and `corrections` (start, shift), each as its columns, and the `bias` of each file.
    """

    base: tuple[array[int], ...]
    result: tuple[array[int], ...]
    regions: tuple[array[int], ...]
    corrections: tuple[array[int], ...]
    bias: array[int]


def read(head: ChapterHeader, body: bytes, lengths: tuple[int, int]) -> Columns:
    """The tables of a chapter between images of these lengths. Raises DeltaCorruptError that names the field."""
    counts, part = head.counts, head.part
    rows = [counts.base_pieces] * 3 + [counts.result_pieces] * 3 + [counts.files]
    pieces = _split(part, body, "pieces", rows)
    base, result = (_space(part, counts.files, *pieces[first : first + 3]) for first in (0, 3))
    behind = [sum(at >= length for at in space[0]) for space, length in zip((base, result), lengths, strict=True)]
    if behind[0] != behind[1]:
        raise part.corrupt("pieces", "base and result have different numbers of pieces behind their ends")
    start, shift = _split(part, body, "corrections", [counts.corrections] * 2)
    corrections = wrapped(accumulate(start)), _summed(shift)
    if not _ascend(corrections[0], _ADDRESS_END):
        raise part.corrupt("corrections", f"addresses do not ascend, or end behind {_ADDRESS_END:#x}")
    start, kind, *anchors = _split(part, body, "regions", [counts.regions] * 4)
    regions = wrapped(accumulate(start)), kind, *map(_summed, anchors)
    if not _ascend(regions[0], LENGTH_LIMIT) or max(kind, default=0) > SYMBOLS_32:
        raise part.corrupt("regions", f"starts do not ascend, or a kind is larger than {SYMBOLS_32}")
    return Columns(base, result, regions, corrections, wrapped(map(unfold, pieces[6])))


@dataclass(frozen=True, slots=True)
class Orders:
    """How type information is derived: runs of the base's types and names, each as its columns fresh, first and count,
    and the new records and names.
    """

    types: tuple[array[int], ...]
    records: bytes
    names: tuple[array[int], ...]
    strings: bytes


def read_orders(head: ChapterHeader, body: bytes, base_length: int) -> Orders:
    """What a chapter says of the type information that it derives. Raises DeltaCorruptError that names the field."""
    counts, part = head.counts, head.part
    if counts.types_at + counts.types_length > base_length:
        raise part.corrupt("types_at", f"reaches outside the base of {base_length} bytes")
    records = part.unpack(body, "records", counts.derived)
    strings = part.unpack(body, "strings", counts.derived - len(records))
    types, names = (
        _runs(*_split(part, body, stream, [rows] * 3, NUMBER_LIMIT))
        for stream, rows in (("types", counts.type_runs), ("names", counts.name_runs))
    )
    return Orders(types, records, names, strings)


def wrapped(numbers: Iterable[int]) -> array[int]:
    """A column of the numbers modulo 2**64, as int64."""
    return array("q", map(signed, numbers))


def signed(number: int) -> int:
    """The int64 that is this number modulo 2**64."""
    return number if -(1 << 63) <= number < 1 << 63 else (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _split(part: Part, body: bytes, stream: str, rows: list[int], limit: int = ADDRESS_LIMIT) -> list[array[int]]:
    """The columns of a stream, of so many rows each."""
    count = sum(rows)
    try:
        numbers = leb128.decode(part.unpack(body, stream, count * limit), count, limit)
    except leb128.VarintError as error:
        raise part.corrupt(stream, str(error)) from error
    return [numbers[end - size : end] for size, end in zip(rows, accumulate(rows), strict=True)]


def _space(part: Part, files: int, before: array[int], length: array[int], steps: array[int]) -> tuple[array[int], ...]:
    ends = accumulate(map(add, before, length))
    offset = wrapped(end - size for end, size in zip(ends, length, strict=True))
    address = wrapped(map(add, offset, accumulate(map(unfold, steps))))
    for gap, size, at, place in zip(before, length, offset, address, strict=True):
        good = 0 < size <= LENGTH_LIMIT and gap <= LENGTH_LIMIT and 0 <= at <= _OFFSET_LIMIT - size
        if not good or not 1 <= place >> FILE_SHIFT <= files or place + size - 1 >> FILE_SHIFT != place >> FILE_SHIFT:
            raise part.corrupt("pieces", f"a piece is empty, too long, or in none of {files} files")
    return offset, length, address


def _runs(fresh: array[int], steps: array[int], count: array[int]) -> tuple[array[int], ...]:
    behind = accumulate(map(add, map(unfold, steps), count))
    return fresh, wrapped(end - size for end, size in zip(behind, count, strict=True)), count


def _summed(steps: Iterable[int]) -> array[int]:
    return wrapped(accumulate(map(unfold, steps)))


def _ascend(numbers: array[int], end: int) -> bool:
    """Whether they ascend from 0 on and stay below `end`."""
    return not numbers or (numbers[0] >= 0 and numbers[-1] < end and all(a < b for a, b in pairwise(numbers)))
