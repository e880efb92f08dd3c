"""The records of a kernel's type information (BTF): what `btf` and `plainbtf` must know of them alike. Pure.

A BTF section is a header, then records of types, each of which refers to others by their number and to its name by an
offset, then the names. Documentation/bpf/btf.rst of the kernel says what the records are.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence

HEADER = struct.Struct("<HBBIIIII")
MAGIC = 0xEB9F
LENGTHS_AT = 12
"""Where the header says the length of the types, then offset and length of the names."""
RECORD = 3
"""Words of the shortest record: name, info, and a size or the number of another type."""
STRINGS_LIMIT = 1 << 19
"""Names in one section: a kernel has 130,000. They bound the memory."""

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNCTION, PROTOTYPE, VARIABLE, DATA_SECTION, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
_KINDS = 20
_MORE = {INT: 1, ARRAY: 3, VARIABLE: 1, DECL_TAG: 1}
"""Words behind the first three."""
EACH = {STRUCT: 3, UNION: 3, ENUM: 2, PROTOTYPE: 2, DATA_SECTION: 3, ENUM64: 3}
"""Words of each member."""
REFERS = (POINTER, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNCTION, PROTOTYPE, VARIABLE, DECL_TAG, TYPE_TAG)
"""Kinds whose third word is the number of a type."""
# Where in a member its name and its type are.
NAME_IN = {STRUCT: 0, UNION: 0, ENUM: 0, PROTOTYPE: 0, ENUM64: 0}
TYPE_IN = {STRUCT: 1, UNION: 1, PROTOTYPE: 1, DATA_SECTION: 0}

Run = tuple[int, int, int]
"""So many new ones, then so many of the base's from a number on: fresh, first, count."""


class BtfError(ValueError):
    """The bytes are no type information, or the order does not fit it."""


def places(data: bytes | bytearray) -> tuple[int, int, int, int]:
    """Where the types begin in a section and how long they are, and the same of the names. Raises BtfError."""
    if len(data) < HEADER.size:
        raise BtfError(f"found {len(data)} bytes, a header has {HEADER.size}")
    magic, _, _, size, types_at, types_length, names_at, names_length = HEADER.unpack_from(data)
    if magic != MAGIC or size < HEADER.size or types_length % 4:
        raise BtfError(f"found magic {magic:#x} and a header of {size} bytes")
    if size + max(types_at + types_length, names_at + names_length) > len(data):
        raise BtfError(f"types or names reach behind the {len(data)} bytes")
    return size + types_at, types_length, size + names_at, names_length


def starts(words: memoryview) -> array[int]:
    """Where each record begins, in words, and where the last ends. Raises BtfError."""
    found, at = array("i"), 0
    while at < len(words):
        found.append(at)
        at = end(words, at)
    found.append(at)
    return found


def end(words: memoryview, at: int) -> int:
    """Where the record at `at` ends. Raises BtfError."""
    if at + RECORD > len(words):
        raise BtfError(f"the record at word {at} is cut off")
    kind, members = words[at + 1] >> 24 & 31, words[at + 1] & 0xFFFF
    behind = at + RECORD + _MORE.get(kind, 0) + EACH.get(kind, 0) * members
    if not 0 < kind < _KINDS or behind > len(words):
        raise BtfError(f"the record at word {at} has kind {kind} and {members} members, which cannot be")
    return behind


def check_order(first: Iterable[int], count: Sequence[int], least: int, there: int, room: int) -> None:
    """Raises BtfError unless every run is of what the base has, which are `there` from number `least` on, and all runs
    together have at most `room`.
    """
    if any(number < least or number + size > least + there for number, size in zip(first, count, strict=True)):
        raise BtfError(f"an order reaches outside the {there} of the base")
    if sum(count) > room:
        raise BtfError(f"an order has {sum(count)}, and there is room for {room}")


def check_length(out: bytearray, length: int) -> None:
    """Raises BtfError before orders that say the same again and again fill the memory."""
    if len(out) > length:
        raise BtfError(f"derives more than {length} bytes")


def put_records(
    out: bytearray, body: memoryview, start: Sequence[int], order: Iterable[Run], *, records: bytes, length: int
) -> None:
    """Append to `out`, which becomes at most `length` bytes, the records in the new order: those of the base in `body`,
    which begin at `start` (in words), and the fresh `records`. Raises BtfError.
    """
    if len(records) % 4:
        raise BtfError(f"fresh records of {len(records)} bytes, which are no whole words")
    words, done = memoryview(records).cast("I"), 0
    for fresh, first, count in order:
        before = done
        for _ in range(fresh):
            done = end(words, done)
        out += records[4 * before : 4 * done]
        if count:
            out += body[4 * start[first - 1] : 4 * start[first + count - 1]]
        check_length(out, length)
    if 4 * done != len(records):
        raise BtfError("there are more fresh records than the order says")


def put_fresh_names(out: bytearray, strings: bytes, done: int, fresh: int) -> int:
    """Append so many names (each with its zero) from `done` on; returns where they end. Raises BtfError."""
    before = done
    for _ in range(fresh):
        done = strings.find(b"\0", done) + 1
        if not done:
            raise BtfError("there are fewer fresh names than the order says")
    out += strings[before:done]
    return done
