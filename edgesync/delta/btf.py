"""The type information of a kernel (BTF), rebuilt from that of another kernel: a few thousand types changed, and the
numbers of all the others with them.

`derive` puts the records and the names of the base into the order of the result, with the new
ones between them, and writes the numbers and offsets anew. What comes out is one more place that copies may come from,
so whatever it has wrong costs bytes and no correctness.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgesync.delta.aarch64 import Words
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
from edgesync.delta.varint import Ints

_BLOCK = 1 << 13
"""Records that are looked at in one go."""


@dataclass(frozen=True, slots=True)
class Order:
    """Runs of the base's types (from 1) or names (from 0), int64 arrays of shape (n,): so many new ones (`fresh`), then
    `count` of the base's, from number `first` on.
    """

    fresh: Ints
    first: Ints
    count: Ints


@dataclass(frozen=True, slots=True)
class Derivation:
    """What makes `length` bytes for the result out of the section at `base_at` of the base: the orders, and what is
    new. Lengths and offsets are bytes.
    """

    base_at: int
    base_length: int
    length: int
    types: Order
    records: bytes
    names: Order
    strings: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """A BTF section: `data` is all of it, `words` its records, `start` where each begins there (in words, and the end),
    `names_at` where the names begin in `data`, and `names` where each begins there (in bytes, and the end).
    """

    data: bytearray
    words: Words
    start: array[int]
    names_at: int
    names: Ints


def read(data: bytearray) -> Section:
    """Raises BtfError."""
    types_at, types_length, names_at, names_length = places(data)
    words = np.frombuffer(data, "<u4", types_length // 4, types_at)
    names = memoryview(data)[names_at : names_at + names_length]
    return Section(data, words, starts(words.data), names_at, _names(names))


def derive(old: Section, how: Derivation) -> bytearray:
    """At most `how.length` bytes, with `how.records` (whole words) and `how.strings` (each with its zero) where the
    orders say fresh. The numbers in `old` are written anew in place. Raises BtfError.
    """
    types, names = how.types, how.names
    check_order(types.first.data, types.count.data, 1, len(old.start) - 1, how.length // (4 * RECORD))
    check_order(names.first.data, names.count.data, 0, len(old.names) - 1, how.length)
    size = HEADER.unpack_from(old.data)[3]
    text, new_names = _put_names(old, how)
    _renumber(old, _new_ids(old, types), new_names)
    out = old.data[:size]
    put_records(out, old.words.view(np.uint8).data, old.start, _runs(types), records=how.records, length=how.length)
    length = len(out) - size
    struct.pack_into("<III", out, LENGTHS_AT, length, length, len(text))
    out += text
    check_length(out, how.length)
    return out


def _runs(order: Order) -> Iterator[Run]:
    return zip(order.fresh.data, order.first.data, order.count.data, strict=True)


def _names(text: memoryview) -> Ints:
    """Where each name begins, and where the last ends."""
    found, count = [np.zeros(1, np.int64)], 0
    for start in range(0, len(text), 1 << 16):
        ends = np.flatnonzero(np.frombuffer(text[start : start + (1 << 16)], np.uint8) == 0)
        count += len(ends)
        if count > STRINGS_LIMIT:
            raise BtfError(f"more than {STRINGS_LIMIT} names")
        found.append(ends + start + 1)
    return np.concatenate(found)


def _put_names(old: Section, how: Derivation) -> tuple[bytearray, Ints]:
    """The names in the new order, and where each of the base is there; one that is not goes with the one before."""
    order, strings = how.names, how.strings
    text, done = bytearray(), 0
    new = np.full(len(old.names), -1, np.int64)
    for fresh, first, count in _runs(order):
        done = put_fresh_names(text, strings, done, fresh)
        start, behind = int(old.names[first]), int(old.names[first + count])
        place = new[first : first + count]
        place[:] = np.where(place < 0, old.names[first : first + count] - start + len(text), place)
        text += memoryview(old.data)[old.names_at + start : old.names_at + behind]
        check_length(text, how.length)
    if done != len(strings):
        raise BtfError("there are more fresh names than the order says")
    known = np.maximum.accumulate(np.where(new >= 0, np.arange(len(new)), 0))
    shift = np.maximum(new[known], 0) - old.names[known]
    return text, old.names + shift


def _new_ids(old: Section, order: Order) -> Ints:
    """The number of each type of the base in the result; what is not there goes with the one before."""
    new, done = np.zeros(len(old.start), np.int64), 0
    for fresh, first, count in _runs(order):
        place = new[first : first + count]
        place[:] = np.where(place == 0, np.arange(done + fresh + 1, done + fresh + count + 1), place)
        done += fresh + count
    known = np.maximum.accumulate(np.where(new > 0, np.arange(len(new)), 0))
    return np.arange(len(new)) + new[known] - known


def _renumber(old: Section, new_ids: Ints, new_names: Ints) -> None:
    """Write the numbers of types and the offsets of names in all records anew."""
    starts = np.frombuffer(old.start, np.int32)[:-1]
    for first in range(0, len(starts), _BLOCK):
        names, types = fields(old.words, starts[first : first + _BLOCK].astype(np.int64))
        value = old.words[names].astype(np.int64)
        name = np.searchsorted(old.names, value, side="right") - 1
        old.words[names] = (new_names[name] + value - old.names[name]).astype(np.uint32)
        value = old.words[types].astype(np.int64)
        known = value < len(new_ids)
        old.words[types[known]] = new_ids[value[known]].astype(np.uint32)


def fields(words: Words, starts: Ints) -> tuple[Ints, Ints]:
    """Indices of the words that are offsets of names, and of those that are numbers of types, in the records that begin
    at `starts`.
    """
    info = words[starts + 1]
    kind, members = info >> 24 & 31, (info & 0xFFFF).astype(np.int64)
    names, types = [starts], [starts[np.isin(kind, REFERS)] + 2]
    types += [starts[kind == ARRAY] + 3, starts[kind == ARRAY] + 4]
    for each, size in EACH.items():
        chosen = np.flatnonzero((kind == each) & (members > 0))
        count = members[chosen]
        number = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        member = np.repeat(starts[chosen] + RECORD, count) + size * number
        if each in NAME_IN:
            names.append(member + NAME_IN[each])
        if each in TYPE_IN:
            types.append(member + TYPE_IN[each])
    return np.concatenate(names), np.concatenate(types)
