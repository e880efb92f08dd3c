"""The tables of a chapter as arrays: what a board must know before it can make the first segment. How they travel is
told in `plain` (copies) and in `tables` (the others), which read them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgesync.delta import streams, varint
from edgesync.delta.addresses import Regions, Space, Tables
from edgesync.delta.btf import Derivation, Order
from edgesync.delta.copies import Copies, Steps, moves_of
from edgesync.delta.format import SEGMENT, ChapterHeader, Counts, encode_chapter
from edgesync.delta.plain import Rows
from edgesync.delta.tables import read
from edgesync.delta.varint import Ints, fold


@dataclass(frozen=True, slots=True)
class Chapter:
    """Copies (in bytes of the whole result) and tables for a range of segments, and how to derive what copies may come
    from besides the base.
    """

    copies: Copies
    tables: Tables
    derivation: Derivation | None = None


def encode(
    chapter: Chapter,
    first: int,
    segments: Sequence[bytes],
    lengths: tuple[int, int],
    *,
    quick: bool = False,
    mixing: bool = False,
) -> bytes:
    """The chapter whose first segment is number `first`, between images of these lengths, with its segments; the quiet
    ones are empty. `quick` is for `streams.pack`; with `mixing` it tries the context-mixing coder for tables.
    """
    copies, tables = chapter.copies, chapter.tables
    base, result, regions, corrections = tables.base, tables.result, tables.regions, tables.corrections
    counts = Counts(
        segments=len(segments),
        loud=len(segments),
        copies=None if _same_place(copies, first, len(segments), lengths) else len(copies.at),
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
    limits = counts.limits() if mixing else {}
    packed = {name: streams.pack(name, data, quick=quick, mixed=limits.get(name, 0)) for name, data in plain.items()}
    return encode_chapter(counts, packed, segments)


def decode(head: ChapterHeader, body: bytes, rows: Rows, lengths: tuple[int, int]) -> Chapter:
    """The chapter that has these copies, between images of these lengths.

    Raises DeltaCorruptError that names the field.
    """
    columns = read(head, body, lengths)
    copies = Copies(*_arrays(rows.at, rows.base, rows.length))
    base, result = Space(*_arrays(*columns.base)), Space(*_arrays(*columns.result))
    moves = moves_between(copies, base, result, *lengths)
    corrections, regions = Steps(*_arrays(*columns.corrections)), Regions(*_arrays(*columns.regions))
    return Chapter(copies, Tables(base, result, moves, corrections, regions, *_arrays(columns.bias)))


def moves_between(copies: Copies, base: Space, result: Space, base_length: int, result_length: int) -> Steps:
    """Where each byte of the base is in the result. Memory that no file fills is behind the images, piece by piece."""
    moves = moves_of(copies.within(base_length))
    old, new = base.offset[base.offset >= base_length], result.offset[result.offset >= result_length]
    return Steps(np.concatenate((moves.start, old)), np.concatenate((moves.shift, new - old)))


def _same_place(copies: Copies, first: int, segments: int, lengths: tuple[int, int]) -> bool:
    """Whether the copies of a chapter are what it has without any: the bytes of the base at the same place."""
    start = first * SEGMENT
    end = min(start + segments * SEGMENT, *lengths)
    return list(copies.rows()) == ([(start, start, end - start)] if start < end else [])


def _run_columns(order: Order) -> Ints:
    behind = np.concatenate(([0], order.first + order.count))[: len(order.first)]
    return np.concatenate((order.fresh, fold(order.first - behind), order.count))


def _arrays(*columns: array[int]) -> Iterator[Ints]:
    """The same numbers, not copied."""
    return (np.frombuffer(column, np.int64) for column in columns)


def _space_columns(space: Space) -> tuple[Ints, Ints, Ints]:
    ends = space.offset + space.length
    return _before(space.offset, ends), space.length, fold(_steps(space.address - space.offset))


def _before(starts: Ints, ends: Ints) -> Ints:
    return starts - np.concatenate(([0], ends))[: len(starts)]


def _steps(numbers: Ints) -> Ints:
    return np.diff(numbers, prepend=0)
