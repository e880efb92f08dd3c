"""References in an image: which words stand for an address, and for which.

A page of words comes with the place of each word in the base; what is known of that place says how to read it. A guess
that is wrong costs bytes and never correctness: encoder and decoder make the same one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesync.delta import a32, a64, aarch32, aarch64
from edgesync.delta.aarch64 import Words
from edgesync.delta.addresses import Tables
from edgesync.delta.format import WORD
from edgesync.delta.kinds import (
    BRANCH,
    CODE,
    CODE_32,
    DISTANCE,
    DISTANCE_31,
    ENTRIES,
    EXTENT,
    EXTENT_LIMIT,
    FAR,
    FILE_SHIFT,
    INSTRUCTION,
    LOW,
    NAME,
    NONE,
    OFFSET,
    OFFSETS,
    PAGE_ALONE,
    PAGE_USED,
    POINTER,
    POINTER_MIN,
    POINTERS,
    POINTERS_32,
    RELATIVE,
    RELATIVE_31,
    SIZE,
    SYMBOLS,
    SYMBOLS_32,
    UNWINDS_NOT,
)
from edgesync.delta.varint import Ints

Kinds = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class References:
    """For each word of a page its kind, the address that it refers to (0 for none), and the byte of the page from which
    a distance is counted.
    """

    kind: Kinds
    target: Ints
    origin: Ints


@dataclass(frozen=True, slots=True)
class _Page:
    """Words, where each is in the base (offset, address, index of the region), and what was found so far."""

    words: Words
    source: Ints
    place: Ints
    region: Ints
    tables: Tables
    kind: Kinds
    target: Ints
    origin: Ints

    def note(self, at: Ints, kind: int, target: Ints) -> None:
        """Take down the words at the indices `at`, if they point at something in their own file."""
        good = (self.tables.base.offset_of(target) >= 0) & (target >> FILE_SHIFT == self.place[at] >> FILE_SHIFT)
        self.kind[at[good]] = kind
        self.target[at[good]] = target[good]

    def note_lengths(self, at: Ints, kind: int, back: int) -> None:
        """Take down words that say how long the thing is that the word `back` before them refers to."""
        self.kind[at] = kind
        self.target[at] = self.target[at - back] + self.words[at].astype(np.int64) - INSTRUCTION


def find(words: Words, source: Ints, tables: Tables) -> References:
    """What each word refers to in the base. `source` is its offset there, -1 for a word that does not come from it."""
    kind, target = np.zeros(len(words), np.uint8), np.zeros(len(words), np.int64)
    origin = WORD * np.arange(len(words))
    found = References(kind, target, origin)
    whole = source >= 0
    if not len(tables.regions.start) or not whole.any():
        return found
    near = np.where(whole, source, source.max())  # words that are from nowhere do not widen the search
    region = np.where(whole, tables.regions.of(near), -1)
    if not (tables.regions.kind[region] != NONE).any():
        return found
    place = np.where(whole, tables.base.address_of(near), 0)
    holds = np.where((region >= 0) & (place > 0), tables.regions.kind[region], NONE)
    held = np.bincount(holds, minlength=SYMBOLS_32 + 1)
    page = _Page(words, source, place, region, tables, kind, target, origin)
    for content, finder in (
        (CODE, _find_code),
        (POINTERS, _find_pointers),
        (RELATIVE, _find_distances),
        (OFFSETS, _find_offsets),
        (SYMBOLS, functools.partial(_find_symbols, kind=SYMBOLS, size_kind=SIZE)),
        (CODE_32, _find_short_code),
        (POINTERS_32, _find_short_pointers),
        (RELATIVE_31, _find_near),
        (SYMBOLS_32, functools.partial(_find_symbols, kind=SYMBOLS_32, size_kind=EXTENT)),
    ):
        if held[content]:
            finder(page, holds == content)
    return found


def _find_code(page: _Page, known: Mask) -> None:
    words, place, kind, target = page.words, page.place, page.kind, page.target
    form = aarch64.forms(words)
    for relative in a64.RELATIVE:
        at = np.flatnonzero(known & (form == relative))
        kind[at] = relative
        target[at] = place[at] + aarch64.distance(words[at], relative)
    # An ADRP of unknown origin still hides those before it.
    pages = np.flatnonzero(form == a64.PAGE)
    users = np.flatnonzero(known & (form >= a64.ADD))
    feeder = aarch64.feeders(words, pages, users)
    fed = (feeder >= 0) & known[feeder]
    users, feeder = users[fed], feeder[fed]
    pages = pages[known[pages]]
    kind[pages] = PAGE_ALONE
    target[pages] = ((place[pages] >> 12) + aarch64.distance(words[pages], a64.PAGE)) << 12
    kind[users] = LOW
    target[users] = target[feeder] + aarch64.low(words[users])
    kind[feeder] = PAGE_USED
    target[feeder[::-1]] = target[users[::-1]]  # of several users the first is the last that is written


def _find_pointers(page: _Page, known: Mask) -> None:
    words, place = page.words, page.place
    whole = known[:-1] & known[1:] & (place[:-1] % 8 == 0) & (place[1:] == place[:-1] + 4)
    at = np.flatnonzero(whole)
    file = place[at] >> FILE_SHIFT
    value = words[at].astype(np.int64) | words[at + 1].astype(np.int64) << 32
    value -= page.tables.bias[file - 1]
    fits = (value >= POINTER_MIN) & (value < 1 << FILE_SHIFT)
    page.note(at[fits], POINTER, value[fits] | file[fits] << FILE_SHIFT)


def _find_distances(page: _Page, known: Mask) -> None:
    words, place = page.words, page.place
    at = np.flatnonzero(known & (words != 0))
    page.note(at, DISTANCE, place[at] + words[at].view(np.int32))
    # Behind the address of a function its length, as in unwind tables.
    far = np.flatnonzero(known & (page.kind == DISTANCE) & (np.abs(page.target - place) > FAR))
    at = far[far + 1 < len(words)] + 1
    at = at[known[at] & (place[at] == place[at - 1] + 4) & (words[at] > 0) & (words[at] < EXTENT_LIMIT)]
    page.note_lengths(at, EXTENT, 1)


def _find_offsets(page: _Page, known: Mask) -> None:
    at = np.flatnonzero(known)
    page.note(at, OFFSET, page.tables.regions.anchor[page.region[at]] + page.words[at].view(np.int32))


def _find_symbols(page: _Page, known: Mask, kind: int, size_kind: int) -> None:
    entry, value, size = ENTRIES[kind]
    back = (size - value) // WORD
    words, place, regions = page.words, page.place, page.tables.regions
    at = np.flatnonzero(known)
    field = (page.source[at] - regions.start[page.region[at]]) % entry
    names = at[(field == 0) & (words[at] > 0)]
    page.note(names, NAME, regions.anchor[page.region[names]] + words[names])
    values = at[(field == value) & (words[at] > 0)]
    page.note(values, POINTER, (place[values] >> FILE_SHIFT << FILE_SHIFT) + words[values])
    sizes = at[(field == size) & (words[at] > INSTRUCTION) & (words[at] < EXTENT_LIMIT) & (at >= back)]
    sizes = sizes[(page.kind[sizes - back] == POINTER) & (place[sizes - back] == place[sizes] - WORD * back)]
    page.note_lengths(sizes, size_kind, back)


def _find_short_code(page: _Page, known: Mask) -> None:
    at = aarch32.branches(page.words)
    at = at[known[at]]
    page.kind[at] = BRANCH
    page.target[at] = page.place[at] + aarch32.distance(page.words[at])
    at, adds = aarch32.literals(page.words, known)
    page.kind[at] = DISTANCE
    page.target[at] = page.place[adds] + a32.AHEAD + page.words[at].view(np.int32)
    page.origin[at] = WORD * adds + a32.AHEAD


def _find_short_pointers(page: _Page, known: Mask) -> None:
    words, place = page.words, page.place
    at = np.flatnonzero(known & (place % WORD == 0) & (words >= POINTER_MIN))
    page.note(at, POINTER, (place[at] >> FILE_SHIFT << FILE_SHIFT) + words[at])


def _find_near(page: _Page, known: Mask) -> None:
    words, place = page.words, page.place
    at = np.flatnonzero(known & (words >> 31 == 0) & (words > UNWINDS_NOT))
    page.note(at, DISTANCE_31, place[at] + ((words[at].astype(np.int64) ^ 1 << 30) - (1 << 30)))
