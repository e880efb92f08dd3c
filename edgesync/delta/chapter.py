"""The tables of a chapter: what a board must know before it can make the first segment, as columns of numbers.

    copies       length of each; bytes of the result before it; step of (place in the base - place in the result)
    types        of each run: fresh ones before it; first of the base - the one behind the run before; how many
    names        the same
    pieces       of base, then of result: bytes before each; length; step of (address - offset); then bias of each file
    regions      step of the start in the base; kind; steps of both anchors
    corrections  step of the first address; step of what is added from there on

All are steps from one row to the next, so that regular tables become runs of equal numbers. Sums may wrap around while
they are read; what is checked is the table that comes out, and nothing is used before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgesync.delta import btf, streams, varint
from edgesync.delta.addresses import FILE_SHIFT, SYMBOLS, Regions, Space, Tables
from edgesync.delta.btf import Derivation, Order
from edgesync.delta.copies import Copies, Steps, moves_of
from edgesync.delta.format import (
    ADDRESS_LIMIT,
    LENGTH_LIMIT,
    NUMBER_LIMIT,
    PIECES_LIMIT,
    SEGMENT,
    ChapterHeader,
    Counts,
    Part,
    encode_chapter,
)
from edgesync.delta.leb128 import VarintError
from edgesync.delta.plain import ReadBase, Rows
from edgesync.delta.varint import Ints, fold, unfold

_OFFSET_LIMIT = 2 * LENGTH_LIMIT
"""Pieces that no file fills lie behind the image, so offsets may be larger than any image."""
_ADDRESS_END = (PIECES_LIMIT + 1) << FILE_SHIFT


@dataclass(frozen=True, slots=True)
class Chapter:
    """Copies (in bytes of the whole result) and tables for a range of segments, and how to derive what copies may come
    from besides the base.
    """

    copies: Copies
    tables: Tables
    derivation: Derivation | None = None


def encode(chapter: Chapter, first: int, segments: Sequence[bytes], *, quick: bool = False) -> bytes:
    """The chapter whose first segment is number `first`, with its segments; the quiet ones are empty. `quick` is for
    `streams.pack`.
    """
    copies, tables = chapter.copies, chapter.tables
    base, result, regions, corrections = tables.base, tables.result, tables.regions, tables.corrections
    counts = Counts(
        segments=len(segments),
        loud=len(segments),
        copies=len(copies.at),
        files=len(tables.bias),
        base_pieces=len(base.offset),
        result_pieces=len(result.offset),
        regions=len(regions.start),
        corrections=len(corrections.start),
    )
    at = copies.at - first * SEGMENT
    columns = {
        "copies": (copies.length, _before(at, at + copies.length), fold(_steps(copies.base - copies.at))),
        "pieces": (*_space_columns(base), *_space_columns(result), fold(tables.bias)),
        "regions": (
            _steps(regions.start),
            regions.kind,
            fold(_steps(regions.anchor)),
            fold(_steps(regions.result_anchor)),
        ),
        "corrections": (_steps(corrections.start), fold(_steps(corrections.shift))),
    }
    plain = {name: varint.encode(np.concatenate(parts)) for name, parts in columns.items()}
    if how := chapter.derivation:
        plain |= {"records": how.records, "strings": how.strings}
        plain |= {
            name: varint.encode(_run_columns(order)) for name, order in (("types", how.types), ("names", how.names))
        }
        counts = replace(
            counts,
            derived=how.length,
            types_at=how.base_at,
            types_length=how.base_length,
            type_runs=len(how.types.first),
            name_runs=len(how.names.first),
        )
    packed = {name: streams.pack(name, data, quick=quick) for name, data in plain.items()}
    return encode_chapter(counts, packed, segments)


def decode(head: ChapterHeader, body: bytes, rows: Rows, lengths: tuple[int, int]) -> Chapter:
    """The chapter that has these copies, between images of these lengths.

    Raises DeltaCorruptError that names the field.
    """
    base_length, result_length = lengths
    counts, part = head.counts, head.part
    copies = Copies(*(np.frombuffer(column, np.int64) for column in (rows.at, rows.base, rows.length)))
    base, result, bias = _spaces(part, body, counts, base_length, result_length)
    corrections = Steps(*_numbers(part, body, "corrections", (2, counts.corrections)))
    corrections = Steps(np.cumsum(corrections.start), np.cumsum(unfold(corrections.shift)))
    if not _ascending(corrections.start, _ADDRESS_END):
        raise part.corrupt("corrections", f"addresses do not ascend, or end behind {_ADDRESS_END:#x}")
    moves = moves_between(copies, base, result, base_length, result_length)
    return Chapter(copies, Tables(base, result, moves, corrections, _regions(part, body, counts.regions), bias))


def derive(head: ChapterHeader, body: bytes, base_length: int, read_base: ReadBase) -> bytearray:
    """What a chapter derives from its base. Raises DeltaCorruptError that names the field."""
    counts, part = head.counts, head.part
    if counts.types_at + counts.types_length > base_length:
        raise part.corrupt("types_at", f"reaches outside the base of {base_length} bytes")
    records = part.unpack(body, "records", counts.derived)
    strings = part.unpack(body, "strings", counts.derived - len(records))
    types = _run_order(_numbers(part, body, "types", (3, counts.type_runs), NUMBER_LIMIT))
    names = _run_order(_numbers(part, body, "names", (3, counts.name_runs), NUMBER_LIMIT))
    how = Derivation(counts.types_at, counts.types_length, counts.derived, types, records, names, strings)
    data = bytearray(counts.types_length)
    read_base(memoryview(data), counts.types_at)
    try:
        derived = btf.derive(btf.read(data), how)
    except btf.BtfError as error:
        raise part.corrupt("types", str(error)) from error
    if len(derived) != counts.derived:
        raise part.corrupt("types", f"derived {len(derived)} bytes, expected {counts.derived}")
    return derived


def moves_between(copies: Copies, base: Space, result: Space, base_length: int, result_length: int) -> Steps:
    """Where each byte of the base is in the result. Memory that no file fills is behind the images, piece by piece."""
    moves = moves_of(copies.within(base_length))
    old, new = base.offset[base.offset >= base_length], result.offset[result.offset >= result_length]
    return Steps(np.concatenate((moves.start, old)), np.concatenate((moves.shift, new - old)))


def _spaces(part: Part, body: bytes, counts: Counts, base_length: int, result_length: int) -> tuple[Space, Space, Ints]:
    rows = (counts.base_pieces, counts.base_pieces, counts.base_pieces) + (counts.result_pieces,) * 3 + (counts.files,)
    data = part.unpack(body, "pieces", sum(rows) * ADDRESS_LIMIT)
    columns = np.split(_decode(part, "pieces", data, sum(rows)), np.cumsum(rows)[:-1])
    spaces = []
    for before, length, steps in (columns[:3], columns[3:6]):
        offset = np.cumsum(length + before) - length
        space = Space(offset, length, offset + np.cumsum(unfold(steps)))
        file = space.address >> FILE_SHIFT
        good = (length > 0) & (length <= LENGTH_LIMIT) & (before <= LENGTH_LIMIT) & (offset >= 0)
        good &= (offset + length <= _OFFSET_LIMIT) & (file >= 1) & (file <= counts.files)
        if not (good & (space.address + length - 1 >> FILE_SHIFT == file)).all():
            raise part.corrupt("pieces", f"a piece is empty, too long, or in none of {counts.files} files")
        spaces.append(space)
    base, result = spaces
    if (base.offset >= base_length).sum() != (result.offset >= result_length).sum():
        raise part.corrupt("pieces", "base and result have different numbers of pieces behind their ends")
    return base, result, unfold(columns[6])


def _regions(part: Part, body: bytes, count: int) -> Regions:
    start, kind, anchor, result_anchor = _numbers(part, body, "regions", (4, count))
    regions = Regions(np.cumsum(start), kind, np.cumsum(unfold(anchor)), np.cumsum(unfold(result_anchor)))
    if not _ascending(regions.start, LENGTH_LIMIT) or (count and kind.max() > SYMBOLS):
        raise part.corrupt("regions", f"starts do not ascend, or a kind is larger than {SYMBOLS}")
    return regions


def _run_columns(order: Order) -> Ints:
    behind = np.concatenate(([0], order.first + order.count))[: len(order.first)]
    return np.concatenate((order.fresh, fold(order.first - behind), order.count))


def _run_order(columns: Ints) -> Order:
    fresh, step, count = columns
    first = np.cumsum(unfold(step) + count) - count
    return Order(fresh, first, count)


def _numbers(part: Part, body: bytes, stream: str, shape: tuple[int, int], limit: int = ADDRESS_LIMIT) -> Ints:
    """Columns of a table, as many as `shape` says, each of so many rows."""
    count = shape[0] * shape[1]
    return _decode(part, stream, part.unpack(body, stream, count * limit), count, limit).reshape(shape)


def _decode(part: Part, stream: str, data: bytes, count: int, limit: int = ADDRESS_LIMIT) -> Ints:
    try:
        return varint.decode(data, count, limit)
    except VarintError as error:
        raise part.corrupt(stream, str(error)) from error


def _space_columns(space: Space) -> tuple[Ints, Ints, Ints]:
    ends = space.offset + space.length
    return _before(space.offset, ends), space.length, fold(_steps(space.address - space.offset))


def _before(starts: Ints, ends: Ints) -> Ints:
    return starts - np.concatenate(([0], ends))[: len(starts)]


def _steps(numbers: Ints) -> Ints:
    return np.diff(numbers, prepend=0)


def _ascending(numbers: Ints, end: int) -> bool:
    return bool((np.diff(numbers, prepend=-1) > 0).all()) and (not len(numbers) or int(numbers[-1]) < end)
