"""The type information of a kernel (BTF), rebuilt from that of another kernel: a few thousand types changed, and the
numbers of all the others with them.

`derive` puts the records and the names of the base into the order of the result, with the new ones between them, and
writes the numbers and offsets anew. What comes out is one more place that copies may come from, so whatever it has
wrong costs bytes and no correctness. Standard library only: arrays of numpy are faster, and for the largest section
that the format allows they would take more memory than a board has for it.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from edgesync.delta.btf_records import (
    ARRAY,
    EACH,
    HEADER,
    LENGTHS_AT,
    NAME_IN,
    RECORD,
    REFERS,
    STRINGS_LIMIT,
    TYPE_IN,
    BtfError,
    Run,
    check_length,
    check_order,
    places,
    put_fresh_names,
    put_records,
    starts,
)
from edgesync.delta.tables import Orders

_WORD = 0xFFFFFFFF


def derive(data: bytearray, orders: Orders, length: int) -> bytearray:
    """At most `length` bytes made of the section `data` of the base, which is written to. Raises BtfError."""
    types_at, types_length, names_at, names_length = places(data)
    view = memoryview(data)
    body = view[types_at : types_at + types_length]
    words, text = body.cast("I"), view[names_at : names_at + names_length]
    start, names = starts(words), _names(text)
    check_order(orders.types[1], orders.types[2], 1, len(start) - 1, length // (4 * RECORD))
    check_order(orders.names[1], orders.names[2], 0, len(names) - 1, length)
    size = HEADER.unpack_from(data)[3]
    new_text, new_names = _put_names(text, names, orders, length)
    _renumber(words, start, names, new_names, _new_ids(len(start), _runs(orders.types)))
    out = bytearray(view[:size])
    put_records(out, body, start, _runs(orders.types), records=orders.records, length=length)
    struct.pack_into("<III", out, LENGTHS_AT, len(out) - size, len(out) - size, len(new_text))
    out += new_text
    check_length(out, length)
    return out


def _runs(columns: Sequence[array[int]]) -> Iterator[Run]:
    fresh, first, count = columns
    return zip(fresh, first, count, strict=True)


def _names(text: memoryview) -> array[int]:
    """Where each name begins, and where the last ends."""
    found = array("i", [0])
    for at, letter in enumerate(text):
        if not letter:
            if len(found) > STRINGS_LIMIT:
                raise BtfError(f"more than {STRINGS_LIMIT} names")
            found.append(at + 1)
    return found


def _put_names(text: memoryview, names: array[int], orders: Orders, length: int) -> tuple[bytearray, array[int]]:
    """The names in the new order, and where each of the base is there; one that is not goes with the one before."""
    out, done = bytearray(), 0
    new = array("q", [-1]) * len(names)
    for fresh, first, count in _runs(orders.names):
        done = put_fresh_names(out, orders.strings, done, fresh)
        shift = len(out) - names[first]
        for number in range(first, first + count):
            if new[number] < 0:
                new[number] = names[number] + shift
        out += text[names[first] : names[first + count]]
        check_length(out, length)
    if done != len(orders.strings):
        raise BtfError("there are more fresh names than the order says")
    shift = 0
    for number, place in enumerate(new):
        if place >= 0:
            shift = place - names[number]
        new[number] = names[number] + shift
    return out, new


def _new_ids(count: int, order: Iterator[Run]) -> array[int]:
    """The number of each type of the base in the result; what is not there goes with the one before."""
    new, done = array("q", [0]) * count, 0
    for fresh, first, size in order:
        done += fresh + 1
        for number in range(first, first + size):
            new[number] = new[number] or done + number - first
        done += size - 1
    shift = 0
    for number, place in enumerate(new):
        if place > 0:
            shift = place - number
        new[number] = number + shift
    return new


def _renumber(
    words: memoryview, start: array[int], names: array[int], new_names: array[int], new_ids: array[int]
) -> None:
    """Write the numbers of types and the offsets of names in all records anew."""

    def name(at: int) -> None:
        number = bisect_right(names, words[at]) - 1
        words[at] = new_names[number] + words[at] - names[number] & _WORD

    def number(at: int) -> None:
        if words[at] < len(new_ids):
            words[at] = new_ids[words[at]] & _WORD

    for at, behind in pairwise(start):
        kind = words[at + 1] >> 24 & 31
        name(at)
        if kind in REFERS:
            number(at + 2)
        if kind == ARRAY:
            number(at + 3)
            number(at + 4)
        if kind in EACH:
            for member in range(at + RECORD, behind, EACH[kind]):
                if kind in NAME_IN:
                    name(member + NAME_IN[kind])
                if kind in TYPE_IN:
                    number(member + TYPE_IN[kind])
