"""Type information of kernels (BTF) in arrays, for the search of what is the same in two of them. Server only."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from edgesync.delta.aarch64 import Words
from edgesync.delta.btf_records import (
    ARRAY,
    EACH,
    NAME_IN,
    RECORD,
    REFERS,
    STRINGS_LIMIT,
    TYPE_IN,
    BtfError,
    places,
    starts,
)
from edgesync.delta.tables import Orders
from edgesync.delta.varint import Ints


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

    def orders(self) -> Orders:
        """The same for `btf_derive`."""
        types, names = (
            tuple(array("q", column.tolist()) for column in (order.fresh, order.first, order.count))
            for order in (self.types, self.names)
        )
        return Orders(types, self.records, names, self.strings)


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
