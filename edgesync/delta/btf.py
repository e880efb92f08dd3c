"""The type information of a kernel (BTF), rebuilt from that of another kernel: a few thousand types changed, and the
numbers of all the others with them.

A BTF section is a header, then records of types, each of which refers to others by their number and to its name by an
offset, then the names. `derive` puts the records and the names of the base into the order of the result, with the new
ones between them, and writes the numbers and offsets anew. What comes out is one more place that copies may come from,
so whatever it has wrong costs bytes and no correctness.
Documentation/bpf/btf.rst of the kernel says what the records are.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

import numpy as np

from edgesync.delta.aarch64 import Words
from edgesync.delta.varint import Ints

HEADER = struct.Struct("<HBBIIIII")
MAGIC = 0xEB9F
_LENGTHS_AT = 12
"""Where the header says the length of the types, then offset and length of the names."""
_RECORD = 3
"""Words of the shortest record: name, info, and a size or the number of another type."""
STRINGS_LIMIT = 1 << 19
"""Names in one section: a kernel has 130,000. They bound the memory."""
_BLOCK = 1 << 13
"""Records that are looked at in one go."""

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNCTION, PROTOTYPE, VARIABLE, DATA_SECTION, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
_KINDS = 20
_MORE = {INT: 1, ARRAY: 3, VARIABLE: 1, DECL_TAG: 1}
"""Words behind the first three."""
_EACH = {STRUCT: 3, UNION: 3, ENUM: 2, PROTOTYPE: 2, DATA_SECTION: 3, ENUM64: 3}
"""Words of each member."""
_REFERS = (POINTER, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNCTION, PROTOTYPE, VARIABLE, DECL_TAG, TYPE_TAG)
"""Kinds whose third word is the number of a type."""
# Where in a member its name and its type are.
_NAME_IN = {STRUCT: 0, UNION: 0, ENUM: 0, PROTOTYPE: 0, ENUM64: 0}
_TYPE_IN = {STRUCT: 1, UNION: 1, PROTOTYPE: 1, DATA_SECTION: 0}


class BtfError(ValueError):
    """The bytes are no type information, or the order does not fit it."""


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
    if len(data) < HEADER.size:
        raise BtfError(f"found {len(data)} bytes, a header has {HEADER.size}")
    magic, _, _, size, types_at, types_length, names_at, names_length = HEADER.unpack_from(data)
    if magic != MAGIC or size < HEADER.size or types_length % 4:
        raise BtfError(f"found magic {magic:#x} and a header of {size} bytes")
    if size + max(types_at + types_length, names_at + names_length) > len(data):
        raise BtfError(f"types or names reach behind the {len(data)} bytes")
    words = np.frombuffer(data, "<u4", types_length // 4, size + types_at)
    names = memoryview(data)[size + names_at : size + names_at + names_length]
    return Section(data, words, _starts(words), size + names_at, _names(names))


def derive(old: Section, how: Derivation) -> bytearray:
    """At most `how.length` bytes, with `how.records` (whole words) and `how.strings` (each with its zero) where the
    orders say fresh. The numbers in `old` are written anew in place. Raises BtfError.
    """
    _check(how.types, 1, len(old.start) - 1)
    _check(how.names, 0, len(old.names) - 1)
    size = HEADER.unpack_from(old.data)[3]
    text, new_names = _put_names(old, how)
    _renumber(old, _new_ids(old, how.types), new_names)
    out = old.data[:size]
    _put_records(out, old, how)
    length = len(out) - size
    struct.pack_into("<III", out, _LENGTHS_AT, length, length, len(text))
    out += text
    _check_length(out, how)
    return out


def _check(order: Order, first: int, count: int) -> None:
    """Raises BtfError unless every run is of what the base has, which are `count` from number `first` on."""
    if len(order.first) and (order.first.min() < first or (order.first + order.count).max() > first + count):
        raise BtfError(f"an order reaches outside the {count} of the base")


def _check_length(out: bytearray, how: Derivation) -> None:
    """Raises BtfError before orders that say the same again and again fill the memory."""
    if len(out) > how.length:
        raise BtfError(f"derives more than {how.length} bytes")


def _starts(words: Words) -> array[int]:
    """Where each record begins, and where the last ends."""
    starts, at, data = array("i"), 0, words.data
    while at < len(words):
        starts.append(at)
        at = _end(data, at)
    starts.append(at)
    return starts


def _end(words: memoryview, at: int) -> int:
    """Where the record at `at` ends."""
    if at + _RECORD > len(words):
        raise BtfError(f"the record at word {at} is cut off")
    kind, members = words[at + 1] >> 24 & 31, words[at + 1] & 0xFFFF
    end = at + _RECORD + _MORE.get(kind, 0) + _EACH.get(kind, 0) * members
    if not 0 < kind < _KINDS or end > len(words):
        raise BtfError(f"the record at word {at} has kind {kind} and {members} members, which cannot be")
    return end


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
    for fresh, first, count in zip(order.fresh.data, order.first.data, order.count.data, strict=True):
        for _ in range(fresh):
            end = strings.find(b"\0", done) + 1
            if not end:
                raise BtfError("there are fewer fresh names than the order says")
            text += strings[done:end]
            done = end
        start, end = int(old.names[first]), int(old.names[first + count])
        place = new[first : first + count]
        place[:] = np.where(place < 0, old.names[first : first + count] - start + len(text), place)
        text += memoryview(old.data)[old.names_at + start : old.names_at + end]
        _check_length(text, how)
    if done != len(strings):
        raise BtfError("there are more fresh names than the order says")
    known = np.maximum.accumulate(np.where(new >= 0, np.arange(len(new)), 0))
    shift = np.maximum(new[known], 0) - old.names[known]
    return text, old.names + shift


def _new_ids(old: Section, order: Order) -> Ints:
    """The number of each type of the base in the result; what is not there goes with the one before."""
    new, done = np.zeros(len(old.start), np.int64), 0
    for fresh, first, count in zip(order.fresh.data, order.first.data, order.count.data, strict=True):
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
    names, types = [starts], [starts[np.isin(kind, _REFERS)] + 2]
    types += [starts[kind == ARRAY] + 3, starts[kind == ARRAY] + 4]
    for each, size in _EACH.items():
        chosen = np.flatnonzero((kind == each) & (members > 0))
        count = members[chosen]
        number = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        member = np.repeat(starts[chosen] + _RECORD, count) + size * number
        if each in _NAME_IN:
            names.append(member + _NAME_IN[each])
        if each in _TYPE_IN:
            types.append(member + _TYPE_IN[each])
    return np.concatenate(names), np.concatenate(types)


def _put_records(out: bytearray, old: Section, how: Derivation) -> None:
    """Append the records in the new order."""
    order, records = how.types, how.records
    if len(records) % 4:
        raise BtfError(f"fresh records of {len(records)} bytes, which are no whole words")
    words, done, body = memoryview(records).cast("I"), 0, old.words.view(np.uint8).data
    for fresh, first, count in zip(order.fresh.data, order.first.data, order.count.data, strict=True):
        start = done
        for _ in range(fresh):
            done = _end(words, done)
        out += records[4 * start : 4 * done]
        if count:
            out += body[4 * old.start[first - 1] : 4 * old.start[first + count - 1]]
        _check_length(out, how)
    if 4 * done != len(records):
        raise BtfError("there are more fresh records than the order says")
