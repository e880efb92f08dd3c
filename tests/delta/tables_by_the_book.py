"""A second decoder of mixed tables, written from docs/delta-mixing.md alone and without a thought for speed."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import arithmetic_by_the_book
from arithmetic_by_the_book import WORD, RefusedError, Slot, hashed

LONG = (1 << 64) - 1
LEARNING, PATIENCE, FIRST = 18, 15, 12000
COPIES, PIECES, REGIONS, CORRECTIONS, RUNS = range(5)
COLUMNS = {PIECES: 6, REGIONS: 4, CORRECTIONS: 2}
SIGNED = {PIECES: (2, 5, 6), REGIONS: (2, 3), CORRECTIONS: (1,)}
JUMP = 7


def length(number):
    return abs(number).bit_length()


def size(number):
    return 2 * length(number) + (number < 0)


def pair(one, other):
    return one << 8 | other


def signed(number):
    """What 64 bits say in two's complement."""
    return (number + (1 << 63) & LONG) - (1 << 63)


def fold(number):
    return 2 * number if number >= 0 else -2 * number - 1


class Decoder(arithmetic_by_the_book.Decoder):
    """Decisions, and numbers made of them."""

    def __init__(self, stream):
        super().__init__(stream)
        self.slots = defaultdict(Slot)
        self.weights = defaultdict(lambda: [FIRST] * 8)

    def decide(self, column, place, contexts):
        slots = [self.slots[context >> 14] for context in contexts]
        return self.mix(slots, self.weights[column, place], LEARNING, PATIENCE)

    def tree(self, column, bits, contexts):
        node = 1
        for _ in range(bits):
            node = node << 1 | self.decide(column, node, [context ^ node << 14 for context in contexts])
        return node - (1 << bits)

    def number(self, column, contexts, guesses, added, *, has_sign=False, page=False):
        name = column << 8

        def whole(role):
            known = [hashed(context, role | name | i) for i, context in enumerate(contexts)]
            return known + [hashed(size(guess), role | name | 16 | i) for i, guess in enumerate(guesses)]

        long = self.tree(column, 5, whole(0))
        if long == 31:
            long += self.tree(column, 5, [hashed(name | 64)])
        if not long:
            return 0
        sign = self.decide(column, 32, whole(long << 16 | 32)) if has_sign else 0
        prefix = 1
        for shift in range(long - 2, -1, -1):
            done = long - 2 - shift
            place = hashed((name << 8 | long << 8) + 2 * shift + sign)
            known = [hashed(prefix & WORD, place + (prefix >> 32) & WORD)]
            for i, guess in enumerate(guesses):
                seen = prefix & 4095 >> shift + 1 if page and not i else prefix
                ahead, bit = seen - (abs(guess) >> shift + 1), abs(guess) >> shift & 1
                stands = {0: 16 * min(shift, 7), 1: 4, -1: 6}.get(ahead, 8 if ahead < 0 else 10) + bit
                known.append(hashed(stands, name | 16 | i | (guess < 0) << 16))
            if shift < 4:
                low = (-added if sign else added) + (prefix << shift + 1) & 15
                known.append(hashed(name << 8 | sign << 8 | shift << 4 | low, 96))
            prefix = prefix << 1 | self.decide(column, 33 + 5 * min(done, 4) + min(shift, 4), known)
        return -prefix if sign else prefix


def decode(table, stream, count):
    """The numbers of a table, column behind column. Raises RefusedError."""
    coder = Decoder(stream)
    if table in COLUMNS:
        numbers = _table(coder, COLUMNS[table], SIGNED[table], 3 if table == PIECES else 1, count)
    else:
        sizes, gaps, steps = _copies(coder, count // 3)
        steps = [fold(signed(step + gap * (table == RUNS))) for step, gap in zip(steps, gaps, strict=True)]
        numbers = [*gaps, *steps, *sizes] if table == RUNS else [*sizes, *gaps, *steps]
    coder.end()
    if any(number >> 63 for number in numbers):
        raise RefusedError
    return numbers


def _copies(coder, rows):
    tracks = [(0, 0, 0)] * JUMP  # shift, before, end
    sizes_at, nexts_at = defaultdict(int), defaultdict(int)
    after = defaultdict(lambda: [0, 0, 0])  # gap, place, size
    kinds, sizes, gaps, shifts, end, step, jumped = [0] * 3, [0, 0], [0, 0], [0], 0, 0, 0

    def place(base):
        return hashed(base & WORD, base >> 32 & WORD) >> 20

    for _ in range(rows):
        sequel = after[hashed(sizes[-1] & WORD, gaps[-1] & WORD) >> 20]
        last = pair(kinds[-1], length(sizes[-1])), pair(length(gaps[-1]), length(gaps[-2]))
        gap = coder.number(0, [0, last[0], pair(kinds[-1], end & 15), last[1]], [sequel[0]], end)
        at, bits = end + gap, length(gap)
        trees = kinds[-1], pair(pair(kinds[-1], kinds[-2]), kinds[-3]), last[0]
        kind = coder.tree(4, 3, [hashed(tree, i) for i, tree in enumerate(trees)])
        if kind == JUMP:
            guesses = [signed(at + tracks[0][0]), nexts_at[place(jumped)], sequel[1]]
            base = coder.number(2, [0, bits], guesses, 0, has_sign=True)
            nexts_at[place(jumped)], jumped, step, shift, sequel[1] = base, base, 0, signed(base - at), base
        else:
            old, back, ended = tracks[kind]
            on = signed(ended - at)
            contexts = [0, bits, pair(kind, size(step)), pair(kind, size(on))]
            step = coder.number(1, contexts, [signed(back - old), on], at + old, has_sign=True)
            shift = signed(old + step)
        costs = [2 * length(signed(shift - track[0])) + 2 * i for i, track in enumerate(tracks)] + [25]
        if kind != costs.index(min(costs)):
            raise RefusedError
        there = place(at + shift)
        contexts = [0, pair(kind, bits), pair(length(sizes[-1]), length(sizes[-2])), pair(kind, length(step))]
        sizes_at[there] = coder.number(3, contexts, [sizes_at[there], sequel[2]], at)
        sequel[0], sequel[2] = gap, sizes_at[there]
        end = at + sizes_at[there] & LONG
        before = tracks[0 if kind == JUMP else kind][0]
        tracks.pop(-1 if kind == JUMP else kind)
        tracks.insert(0, (shift, before, end))
        kinds, sizes, gaps, shifts = [*kinds, kind], [*sizes, sizes_at[there]], [*gaps, gap], [*shifts, shift]
    return sizes[2:], gaps[2:], [new - old for old, new in pairwise(shifts)]


def _table(coder, columns, with_sign, twin, count):
    rows = count // columns
    numbers = [[] for _ in range(columns + 1)]
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    for _, column in cells + [(rows, columns)] * (count - rows * columns):
        above, older = [0, 0, *numbers[column]][-1:-3:-1]
        total = signed(sum(numbers[column]))
        left = numbers[column - 1][-1] if column and numbers[column - 1] else 0
        other = numbers[column - twin][-1] if column >= twin and numbers[column - twin] else 0
        state = 0
        for each in with_sign:
            state = state << 1 | (signed(sum(numbers[each])) == 0)
        contexts = [state, state << 16 | pair(size(above), size(left)), pair(size(above), size(older)), size(left)]
        guesses = [other if column else -total & 4095, above, -total if column in with_sign else older]
        has_sign = column in with_sign
        number = coder.number(column, contexts, guesses, total, has_sign=has_sign, page=not column)
        numbers[column].append(number)
    return [fold(number) if i in with_sign else number for i, column in enumerate(numbers) for number in column]
