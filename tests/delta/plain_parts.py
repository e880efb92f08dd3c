"""Tables and words at random in which much refers to something, and what the decoder without numpy is told of them."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from edgesync.delta import a32, a64, plaintables
from edgesync.delta.addresses import Regions, Space, Tables
from edgesync.delta.copies import Copies, Steps
from edgesync.delta.kinds import (
    CODE,
    CODE_32,
    FILE_SHIFT,
    NONE,
    OFFSETS,
    POINTERS,
    POINTERS_32,
    RELATIVE,
    RELATIVE_31,
    SYMBOLS,
    SYMBOLS_32,
)
from edgesync.wire.errors import DeltaCorruptError

FILE = 1 << FILE_SHIFT
SIZE = 4000
"""Bytes of the part of an image that has addresses; memory that no file fills is behind it, far away."""
START, FAR = FILE + 4096, FILE + 100_000
"""Addresses of both."""
EXTREMES = (-(1 << 63), -(1 << 62), 1 << 62, (1 << 63) - 1)


def plain_tables(known: Tables) -> plaintables.Tables:
    def columns(table, names):
        return [array("q", np.asarray(getattr(table, name), np.int64).tolist()) for name in names]

    return plaintables.Tables(
        *(plaintables.Space(*columns(space, ("offset", "length", "address"))) for space in (known.base, known.result)),
        *(plaintables.Steps(*columns(steps, ("start", "shift"))) for steps in (known.moves, known.corrections)),
        plaintables.Regions(*columns(known.regions, [field.name for field in fields(plaintables.Regions)])),
        array("q", known.bias.tolist()),
    )


class Refused(str):
    """The text of a DeltaCorruptError."""

    __slots__ = ()


def outcome(decode: Callable[..., memoryview], *arguments: object) -> bytes | Refused:
    """The bytes that come out, or what the refusal says."""
    try:
        return bytes(decode(*arguments))
    except DeltaCorruptError as error:
        return Refused(error)


@dataclass(frozen=True)
class Page:
    """Words, the copies that they are from, where they stand in the result, and the tables."""

    words: list[int]
    copies: Copies
    offset: int
    tables: Tables

    def runs(self) -> Iterator[tuple[int, int, int]]:
        for at, base, length in self.copies.rows():
            first, end = -(-at // 4), (at + length) // 4
            if at % 4 == base % 4 and end > first:
                yield first, end, base + 4 * first - at


def page(seed: int) -> Page:
    """The same for the same seed."""
    chance = random.Random(seed)
    tables = _tables(chance)
    words = [word for _ in range(chance.randrange(1, 200)) for word in _words(chance, int(tables.bias[0]))]
    return Page(words, _copies(chance, len(words)), 4 * chance.choice([0, 0, 50, 300]), tables)


def _ints(rows, columns):
    return np.array(rows, np.int64).reshape(-1, columns).T


def _tables(chance: random.Random) -> Tables:
    anchors = (START - 50, FAR - 50, *EXTREMES) if chance.random() < 0.2 else (START - 50, FAR - 50)
    starts = {4 * chance.randrange(SIZE // 4) + chance.choice([0, 0, 0, 1]) for _ in range(chance.randrange(7))}
    kinds = [NONE, CODE, CODE, POINTERS, RELATIVE, RELATIVE, OFFSETS, SYMBOLS]
    if chance.random() < 0.5:
        kinds = [CODE, CODE_32, CODE_32, POINTERS_32, RELATIVE_31, RELATIVE_31, SYMBOLS_32]
    rows = [(at, chance.choice(kinds), chance.choice(anchors), chance.choice(anchors)) for at in sorted({0, *starts})]
    regions = Regions(*_ints(rows[chance.random() < 0.1 :], 4))
    bias = [chance.choice([0, 0, 1 << 20, *EXTREMES]) for _ in range(2)]
    corrections = _steps(chance, START, FAR)
    moves = _steps(chance, 0, SIZE)
    return Tables(_space(chance), _space(chance), moves, corrections, regions, np.array(bias, np.int64))


def _space(chance: random.Random) -> Space:
    cut, gap = SIZE // 2 + chance.choice([0, 0, 3, 100]), chance.choice([0, 0, 4, 8000, 8003])
    rows = [(0, cut, START), (cut, SIZE, START + cut + gap), (1 << 20, 999, FAR + chance.choice([0, 80]))]
    if chance.random() < 0.3:
        rows[1] = (cut, SIZE, 2 * FILE + 4096)
    if chance.random() < 0.2:
        rows[0] = (0, cut, FILE + 16)
    if chance.random() < 0.1:
        rows[0] = (0, cut, 2 * FILE + 4096)
    return Space(*_ints(rows if chance.random() < 0.9 else rows[chance.randrange(3) :], 3))


def _steps(chance: random.Random, least: int, most: int) -> Steps:
    starts = sorted({chance.randrange(least, most) for _ in range(chance.randrange(4))})
    shifts = (0, 4, -4, 100, *EXTREMES) if chance.random() < 0.1 else (0, 4, -4, 100)
    return Steps(*_ints([(at, chance.choice(shifts)) for at in starts], 2))


def _words(chance: random.Random, bias: int) -> list[int]:
    """One or some that may well refer to something."""
    what = chance.random()
    if what < 0.3:
        return [_instruction(chance, chance.choice(a64.PATTERNS))]
    if what < 0.45:
        users = [pattern for pattern in a64.PATTERNS if pattern[0] >= a64.PAGE]
        return [_instruction(chance, pattern) for pattern in users]
    if what < 0.6:
        value = chance.choice([START, FAR, FILE + chance.randrange(4096)]) + chance.randrange(900) - FILE
        value += chance.choice([0, bias])
        return [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF]
    if what < 0.62:
        return _literal(chance)
    if what < 0.65:
        branch = chance.randrange(16) << 28 | 5 << 25 | chance.randrange(2) << 24
        return [a32.with_distance(branch, 4 * chance.randrange(-800, 800) + 4 * chance.randrange(2))]
    if what < 0.7:
        return [chance.randrange(95_000, 104_000), chance.randrange(1, 400)]
    if what < 0.75:
        return [chance.randrange(900), 4096 + chance.randrange(900), chance.randrange(100), 0][chance.randrange(2) :]
    if what < 0.8:
        return [chance.randrange(900), 0, 4096 + chance.randrange(900), 0, chance.randrange(100), 0][
            chance.randrange(3) :
        ]
    return [
        chance.choice([0, 1, chance.randrange(-6000, 6000) & chance.choice([0x7FFFFFFF, -1]) & 0xFFFFFFFF]),
        chance.getrandbits(32),
    ][: chance.randrange(1, 3)]


def _instruction(chance: random.Random, pattern: tuple[int, int, int]) -> int:
    """Near its target, and with one of two registers."""
    form, mask, value = pattern
    word = chance.getrandbits(32) & ~mask | value
    if form in (*a64.RELATIVE, a64.PAGE):
        most = 2 if form == a64.PAGE else 800
        word = a64.with_distance(word, form, chance.randrange(-most, most))
    if form == a64.PAGE:
        word = word & ~31 | chance.randrange(2)
    if form in (a64.ADD, a64.ACCESS):
        word = word & ~(31 << 5) | chance.randrange(2) << 5
    return word


def _literal(chance: random.Random) -> list[int]:
    """A distance that is loaded and added to an address, and what lies between."""
    register, steps = chance.randrange(2), chance.choice([-1, 0, 1, 2, 2, 2, 3])
    load = 0xE51F0000 | (steps >= 0) << 23 | register << 12 | 4 * abs(steps) | (chance.random() < 0.1)
    add = chance.choice([0xE08F1000, 0xE79F2000]) | chance.choice([register, register, 1])
    fill = [chance.choice([0xE1A00000, add, 0]) for _ in range(chance.choice([0, 1, 1, 2, 70]))]
    distance = chance.randrange(-900, 900)
    return [load, *fill, add, distance & 0xFFFFFFFF, distance + 4 & 0xFFFFFFFF, add]


def _copies(chance: random.Random, count: int) -> Copies:
    rows, at = [], 0
    while at < 4 * count and len(rows) < 9:
        at += chance.choice([0, 0, 0, 1, 4, 30])
        length = min(chance.choice([4, 7, 40, 400]), 4 * count - at)
        if length > 0:
            base = chance.choice([at, at, 4 * chance.randrange(500) + at % 4, 24 * chance.randrange(80) + at % 4, 3])
            rows.append((at, base, length))
        at += max(length, 0)
    return Copies(*_ints(rows, 3))
