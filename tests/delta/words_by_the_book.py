"""A second decoder of the words of a segment, from docs/delta-mixing.md alone and without a thought for speed."""

from __future__ import annotations

import struct
from collections import defaultdict

from arithmetic_by_the_book import WORD, Decoder, Slot, hashed, numbered

UNKNOWN, EDGE = 15, 16
FAR = 7
ADR, PAGE = 4, 6
WHOLE = (1, 2, 8, 12, 13)
SPREAD = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F, 0x165667B1, 0xD3A2646D, 0xFD7046C5, 0xB55A4F09)


class Groups:
    """2^bits groups of 15 slots; the two places of a context differ in the lowest bit of their number."""

    def __init__(self, bits):
        self.bits, self.table = bits, defaultdict(lambda: [0, [Slot() for _ in range(15)]])

    def of(self, context):
        check = context & 0xFFFF | 1
        places = [self.table[context >> 32 - self.bits ^ side] for side in range(2)]
        for group in places:
            if group[0] == check:
                return group[1]
        group = min(places, key=lambda group: group[1][0].count)
        group[0] = check
        for slot in group[1]:
            slot.__init__()
        return group[1]


class Words:
    """The state of the decoder in one segment."""

    def __init__(self, stream, kind, target, mark, draft):
        self.coder = Decoder(stream)
        count = len(kind)
        self.kind = [byte & 15 for byte in kind]
        self.target = struct.unpack(f"<{count}I", target)
        self.words = list(struct.unpack(f"<{count}I", draft))
        self.unknown = [byte & UNKNOWN for byte in mark]
        self.steps = _edges([byte & EDGE for byte in mark])
        self.one, self.two = [0] * (1 << 16), [0] * (1 << 18)
        self.flags = Flags()
        self.values = Values()
        self.fresh = Fresh()

    def run(self):
        """The words of the result. Raises RefusedError."""
        for at, unknown in enumerate(self.unknown):
            if not unknown:
                self.learn(at)
        for at, unknown in enumerate(self.unknown):
            if unknown:
                self.words[at] = relative(self.fresh.word(self, at), at)
            elif self.flags.wrong(self, at):
                self.words[at] = self.values.corrected(self, at)
            self.learn(at)
        self.coder.end()
        return struct.pack(f"<{len(self.words)}I", *self.words)

    def before(self, at, back):
        return self.words[at - back] if at >= back else 0

    def placed(self, at, back):
        return absolute(self.before(at, back), at - back)

    def place(self, at):
        return self.target[at] if self.kind[at] else self.words[at]

    def recalled(self, place):
        return absolute(self.words[place], place)

    def entries(self, at):
        one, two = self.placed(at, 1), self.placed(at, 2)
        return hashed(one) >> 16, hashed(numbered(one, two)) >> 14

    def learn(self, at):
        one, two = self.entries(at)
        self.one[one] = self.two[two] = at

    def alike(self, place, at):
        most = min(20, place, at)
        return next((n for n in range(most) if self.placed(place, n + 1) != self.placed(at, n + 1)), most)

    def byte(self, groups, contexts, weights, learning, patience):
        """`weights` are those of the upper and those of the lower half."""
        node = 1
        for half in range(2):
            found = [groups.of(numbered(context, node)) for context in contexts]
            tree = 1
            for _ in range(4):
                slots = [group[tree - 1] for group in found]
                tree = tree << 1 | self.coder.mix(slots, weights[half], learning, patience)
            node = node << 4 | tree & 15
        return node & 255


def _edges(edges):
    """For each word, how far the edges before and behind it are, in steps."""
    found, edges = [], [0] * FAR + edges + [0] * FAR
    for at in range(FAR, len(edges) - FAR):
        behind = next((n for n in range(FAR) if edges[at - n]), FAR)
        ahead = next((n for n in range(1, FAR) if edges[at + n]), FAR)
        found.append(_step(behind) << 2 | _step(ahead))
    return found


def _step(distance):
    return sum(distance >= least for least in (1, 3, FAR))


def _sets(weight):
    return defaultdict(lambda: defaultdict(lambda: weight))


def _halves(weight):
    return defaultdict(lambda: [defaultdict(lambda: weight) for _ in range(2)])


def _part(word, number):
    return word >> 8 * number & 255


def _expected(word, count, above, number):
    """What a word that may be it says of a byte."""
    return 1 << 16 | count << 8 | _part(word, number) if number == 3 or word >> 8 * (number + 1) == above else 0


class Flags:
    def __init__(self):
        self.slots, self.weights = defaultdict(Slot), _sets(65536 // 4)
        self.last, self.last_of, self.right = 0, [0] * 16, 0

    def wrong(self, words, at):
        kind, word, last = words.kind[at], words.words[at], self.last
        form, before = word >> 16, words.before(at, 1) >> 16
        contexts = [
            words.place(at) if kind else numbered(word, last & 3),
            words.place(at) >> 8 << 1 | last & 1,
            form << 1 | last & 1,
            numbered(form << 16 | before, last & 3),
            word,
            last & 0xFFF,
            words.steps[at] << 4 | self.last_of[kind] & 15,
            self.right,
        ]
        places = [numbered(context, kind) * odd & WORD for context, odd in zip(contexts, SPREAD, strict=True)]
        bit = words.coder.mix([self.slots[place >> 14] for place in places], self.weights[kind, last & 3], 12, 10)
        self.last = last << 1 & WORD | bit
        self.last_of[kind] = self.last_of[kind] << 1 & WORD | bit
        self.right = 0 if bit else min(self.right + 1, 255)
        return bit


class Values:
    def __init__(self):
        self.slots, self.guess_weights = defaultdict(Slot), _sets(2 * 65536 // 5)
        self.groups, self.weights = Groups(15), _halves(3 * 65536 // 20)
        self.habits = [defaultdict(lambda: (0, 0)) for _ in range(3)]
        self.last, self.guessed, self.added = [0] * 16, 0, (0, 0)

    def corrected(self, words, at):
        kind = words.kind[at]
        bent = ADR <= kind <= PAGE
        draft = straightened(words.words[at]) if bent else words.words[at]
        known = (draft, words.place(at) >> 12, self.last[kind])
        names = [hashed(one, kind) >> 18 for one in known]
        habits = [habit[name] for habit, name in zip(self.habits, names, strict=True)]
        number, value = self.guess(words, at, kind, draft, habits)
        if value is None:
            value = self.told(words, at, kind, draft, habits)
        self.guessed = (self.guessed << 3 | number) & WORD
        for habit, name in zip(self.habits, names, strict=True):
            same = habit[name][0] == value
            habit[name] = value, min(habit[name][1] * same + 1, 7)
        self.last[kind] = value
        self.added = at, value
        made = draft + value & WORD
        return bent_back(made) if bent else made

    def guess(self, words, at, kind, draft, habits):
        """The number of the guess that is right and the value; 7 and None if none is."""
        guesses = []
        for source, (value, times) in enumerate((*habits[:2], (self.last[kind], 0))):
            if times or source == 2:
                _propose(guesses, value, source, times)
        place = words.two[words.entries(at)[1]]
        again = relative(words.recalled(place), at)
        if not kind and place and again != draft:
            _propose(guesses, again - draft & WORD, 3, 1)
        for number, (value, trust) in enumerate(guesses):
            contexts = [
                hashed(trust, kind),
                hashed(trust << 8 | number, self.guessed & 63),
                hashed(value, kind),
                hashed(draft >> 16, number << 8 | kind),
            ]
            slots = [self.slots[hashed(context, i) >> 18] for i, context in enumerate(contexts)]
            if words.coder.mix(slots, self.guess_weights[kind], 8, 14):
                return number, value
        return 7, None

    def told(self, words, at, kind, draft, habits):
        before, above, base = words.before(at, 1), 0, draft if kind in WHOLE else 0
        added = self.added[1] if self.added[0] + 1 == at else 0
        for number in (3, 2, 1, 0):
            name = number << 4 | kind
            known = hashed(above, name)
            contexts = [
                hashed(above, draft >> (16 if number == 3 else 8 * number)),
                hashed(0 if number == 3 else above ^ draft >> 8 * (number + 1), _part(draft, number)),
                hashed(above, before >> 16),
                hashed(known, added),
                above & 255,
                hashed(known, words.place(at) >> 16),
                _expected(base + habits[0][0] & WORD, min(habits[0][1], 3), above, number),
                _expected(base + habits[2][0] & WORD, min(habits[2][1], 3), above, number),
                _expected(base + self.last[kind] & WORD, 0, above, number),
            ]
            contexts = [hashed(numbered(context, name << 8 | i)) for i, context in enumerate(contexts)]
            above = above << 8 | words.byte(self.groups, contexts, self.weights[number, kind], 8, 14)
        return above - base & WORD


def _propose(guesses, value, source, times):
    for guess in guesses:
        if guess[0] == value:
            guess[1] += 8 + times
            return
    guesses.append([value, source << 8 | times])


def straightened(word):
    return word & 0x8000001F | (word >> 24 & 31) << 26 | (word >> 5 & 0x7FFFF) << 7 | (word >> 29 & 3) << 5


def bent_back(word):
    return word & 0x8000001F | (word >> 26 & 31) << 24 | (word >> 7 & 0x7FFFF) << 5 | (word >> 5 & 3) << 29


def absolute(word, at):
    return _moved(word, at, at >> 10)


def relative(word, at):
    return _moved(word, -at, -(at >> 10))


def _moved(word, calls, pages):
    """A call or an ADRP, the distance of which has grown."""
    if word >> 26 == 0x25:
        return word & 0xFC000000 | word + calls & 0x3FFFFFF
    if word & 0x9F000000 == 0x90000000:
        distance = ((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3) + pages
        return word & 0x9F00001F | (distance >> 2 & 0x7FFFF) << 5 | (distance & 3) << 29
    return word


class Fresh:
    def __init__(self):
        self.slots, self.again_weights, self.came = defaultdict(Slot), _sets(2 * 65536 // 5), 0
        self.groups, self.weights = Groups(16), _halves(65536 // 8)

    def word(self, words, at):
        one, two = words.entries(at)
        recalled = []
        for place in (words.two[two], words.one[one]):
            length, word = words.alike(place, at), words.recalled(place)
            if length and not (recalled and recalled[0][0] == word):
                recalled.append((word, length))
        for number, (word, length) in enumerate(recalled):
            contexts = [length, self.came & 255, word >> 21 << 2 | min(length, 3)]
            slots = [self.slots[hashed(context, number << 2 | i) >> 20] for i, context in enumerate(contexts)]
            if words.coder.mix(slots, self.again_weights[number], 6, 15):
                self.came = (self.came << 2 | 1) & WORD
                return word
        self.came = (self.came << 2 | (2 if recalled else 0)) & WORD
        return self.told(words, at, [*recalled, (0, 0), (0, 0)])

    def told(self, words, at, recalled):
        before, second, third, row = (words.placed(at, back) for back in (1, 2, 3, 6))
        unknown, above = words.unknown[at], 0
        copied = [256 if unknown >> n & 1 else _part(words.words[at], n) for n in range(4)] + [256]
        forms = second >> 21 << 11 | before >> 21
        for number in (3, 2, 1, 0):
            last, top = above & 255, above >> 8 * (2 - number) if number < 3 else 0
            contexts = [
                above,
                last,
                hashed(above, forms),
                hashed(above, hashed(forms, third >> 21)),
                last << 8 | before >> 24,
                top << 16 | (before & 31) << 8 | second & 31,
                _part(second, number) << 8 | _part(row, number),
                *(_expected(word, length, above, number) for word, length in recalled[:2]),
                copied[number] << 9 | copied[number - 1],
                hashed(copied[number], forms),
            ]
            contexts = [hashed(numbered(context, number << 8 | i)) for i, context in enumerate(contexts)]
            part = 0 if unknown == UNKNOWN else 1 if unknown >> number & 1 else 2
            above = above << 8 | words.byte(self.groups, contexts, self.weights[part, number], 6, 14)
        return above


def decode(stream, kind, target, mark, draft):
    """The result, as `mixing.unpack_words` has it. Raises RefusedError."""
    return Words(stream, kind, target, mark, draft).run()
