"""Finding the types and names of one kernel in another, for `btf_derive`.

Server only. A name is the same if its letters are. A type is the same if its record is, with names as letters and, five
levels deep, the types that it refers to in their place; or, if there is none such, if the record itself is. Of several
that are the same the one behind the last counts, then the nearest.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.btf import Derivation, Order, Section, fields, read
from edgesync.delta.btf_derive import derive
from edgesync.delta.btf_records import HEADER, MAGIC, BtfError
from edgesync.delta.format import DERIVED_LIMIT
from edgesync.delta.varint import Ints

_DEPTH = 5
_START = MAGIC.to_bytes(2, "little") + b"\x01\0"
_LEAST = 1 << 14
"""Bytes of a section that is worth it: kernel modules have small ones, which refer to the kernel's."""

Hashes = NDArray[np.uint64]


def find(image: bytes) -> list[tuple[int, int]]:
    """Offset and length of each section of type information that is large enough."""
    found, at = [], image.find(_START)
    while at >= 0:
        if at + HEADER.size <= len(image):
            _, _, _, size, types_at, types_length, names_at, names_length = HEADER.unpack_from(image, at)
            length = size + max(types_at + types_length, names_at + names_length)
            if size == HEADER.size and _LEAST <= length <= min(DERIVED_LIMIT, len(image) - at):
                found.append((at, length))
        at = image.find(_START, at + 1)
    return found


@dataclass(frozen=True, slots=True)
class Types:
    """The first section of type information in each of two images, and what the second is derived from the first to
    be: `data`, which may be wrong here and there. Offsets and lengths are bytes.
    """

    how: Derivation
    data: bytes
    result_at: int
    result_length: int


def types(base: bytes, result: bytes) -> Types | None:
    """None if one of the images has none, or one that cannot be read."""
    olds, news = find(base), find(result)
    if not olds or not news:
        return None
    (base_at, base_length), (result_at, result_length) = olds[0], news[0]
    before = base[base_at : base_at + base_length]
    try:
        old, new = read(bytearray(before)), read(bytearray(result[result_at : result_at + result_length]))
        names, strings = _order_names(old, new)
        order, records = _order_types(old, new)
        how = Derivation(base_at, base_length, DERIVED_LIMIT, order, records, names, strings)
        data = bytes(derive(bytearray(before), how.orders(), how.length))
    except BtfError:
        return None
    return Types(replace(how, length=len(data)), data, result_at, result_length)


def without(found: Types, base: bytes, result: bytes) -> tuple[bytes, bytes]:
    """Both images with zeros where the type information is: what it resembles does not matter, for it is derived."""
    places = ((base, found.how.base_at, found.how.base_length), (result, found.result_at, found.result_length))
    old, new = (b"".join((image[:at], bytes(length), image[at + length :])) for image, at, length in places)
    return old, new


def _order_names(old: Section, new: Section) -> tuple[Order, bytes]:
    number = {name: index for index, name in reversed(list(enumerate(_names(old))))}
    names = _names(new)
    order = _runs([number.get(name, -1) for name in names], len(old.names) - 1)
    return order, b"".join(name for name in names if name not in number)


def _order_types(old: Section, new: Section) -> tuple[Order, bytes]:
    letters: dict[bytes, int] = {}
    (old_deep, old_own), (new_deep, new_own) = _hashes(old, letters), _hashes(new, letters)
    by_deep, by_own = _places(old_deep), _places(old_own)
    matched, last = [], 0
    for deep, own in zip(new_deep.tolist(), new_own.tolist(), strict=True):
        candidates = by_deep.get(deep) or by_own.get(own)
        if candidates:
            last = _nearest(candidates, last + 1)
        matched.append(last if candidates else -1)
    words = np.array(new.start)
    fresh = [new.words[a:b].tobytes() for a, b, at in zip(words[:-1], words[1:], matched, strict=True) if at < 0]
    return _runs(matched, len(old.start) - 1), b"".join(fresh)


def _hashes(section: Section, letters: dict[bytes, int]) -> tuple[Hashes, Hashes]:
    """For each record one number that stands for it with all that it refers to, and one for it alone."""
    starts = np.frombuffer(section.start, np.int32).astype(np.int64)
    names, types = fields(section.words, starts[:-1])
    value = section.words.astype(np.uint64)
    number = np.array([letters.setdefault(name, len(letters)) for name in _names(section)], np.uint64)
    inside = names[
        section.words[names] < section.names[-1]
    ]  # a module names the kernel's names too: those are not here
    value[inside] = number[np.searchsorted(section.names, section.words[inside].astype(np.int64), side="right") - 1]
    refers = section.words[types].astype(np.int64)
    place = np.arange(len(value), dtype=np.uint64) - np.repeat(starts[:-1], np.diff(starts)).astype(np.uint64)
    value[types] = 0
    own = deep = _sums(value, place, starts)
    for _ in range(_DEPTH):
        known = np.concatenate((np.zeros(1, np.uint64), deep))
        value[types] = known[np.minimum(refers, len(known) - 1)]
        deep = _sums(value, place, starts)
    return deep, own


def _sums(values: Hashes, places: Hashes, starts: Ints) -> Hashes:
    """One number for all words of each record, which depends on their places."""
    sums: Hashes = np.add.reduceat(_mixed(_mixed(values) + places), starts[:-1])
    return sums


def _mixed(values: Hashes) -> Hashes:
    """Each bit of the result depends on all of the value (splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ values >> np.uint64(31)
    return mixed


def _places(hashes: Hashes) -> dict[int, list[int]]:
    """The numbers of the types that have each hash, ascending."""
    places = defaultdict(list)
    for number, value in enumerate(hashes.tolist(), 1):
        places[value].append(number)
    return places


def _nearest(ascending: list[int], wanted: int) -> int:
    after = bisect_left(ascending, wanted)
    near = ascending[max(0, after - 1) : after + 1]
    return min(near, key=lambda number: (abs(number - wanted), -number))


def _runs(matched: Sequence[int], last: int) -> Order:
    """The order in which the old ones follow one another, -1 for a fresh one; `last` is the number of the last one."""
    rows, fresh, count = [], 0, 0
    first = 0
    for number in matched:
        if number >= 0 and count and number == first + count:
            count += 1
            continue
        if count:
            rows.append((fresh, first, count))
            fresh = count = 0
        if number < 0:
            fresh += 1
        else:
            first, count = number, 1
    if fresh or count:
        rows.append((fresh, first if count else last, count))
    return Order(*np.array(rows, np.int64).reshape(-1, 3).T.copy())


def _names(section: Section) -> list[bytes]:
    text, ends = bytes(section.data[section.names_at :]), section.names.tolist()
    return [text[a:b] for a, b in itertools.pairwise(ends)]
