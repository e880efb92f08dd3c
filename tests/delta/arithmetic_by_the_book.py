"""Arithmetic coder, slots and mixer, written from docs/delta-mixing.md alone and without a thought for speed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

WORD = (1 << 32) - 1
MOST = 2839


class RefusedError(Exception):
    """No encoder writes this stream."""


def _squashed():
    odds = accumulate(range(MOST), lambda odds, _: odds * 4278222805 >> 32, initial=1 << 32)
    upper = [(((1 << 49) // ((1 << 32) + odd)) + 1) >> 1 for odd in odds]
    return dict(enumerate(upper)) | {-x: 65536 - p for x, p in enumerate(upper)}


def _stretched():
    table, x = [0] * 4096, 0
    for p in range(2048, 4096):
        while x < MOST and SQUASH[x + 1] <= 16 * p + 8:
            x += 1
        table[p], table[4095 - p] = x, -x
    return table


SQUASH = _squashed()
STRETCH = _stretched()


def hashed(value, *others):
    value = value * 0x9E3779B1 & WORD
    value = (value ^ value >> 15) * 0x85EBCA6B & WORD
    value ^= value >> 13
    return hashed(value + others[0] & WORD) if others else value


def signed(word):
    return (word + (1 << 31) & WORD) - (1 << 31)


def numbered(value, number):
    return value + number * 0x9E3779B1 & WORD


@dataclass(slots=True)
class Slot:
    """One decision in one context."""

    chance: int = 1 << 11
    count: int = 0

    def learn(self, bit, patience):
        chance, rate = 16 * self.chance + 8, 327680 // (5 * self.count + 6)
        chance += (65535 - chance) * rate >> 16 if bit else -(chance * rate >> 16)
        self.chance, self.count = chance >> 4, min(self.count + 1, patience)


class Decoder:
    """Decisions from a stream."""

    def __init__(self, stream):
        self.stream, self.at, self.low, self.high = stream, 4, 0, WORD
        self.code = int.from_bytes(stream[:4].ljust(4, b"\0"), "big")

    def mix(self, slots, weights, learning, patience):
        """A decision that the slots have opinions of; `weights` has the weight of each by its number."""
        opinions = [STRETCH[slot.chance] for slot in slots]
        total = sum(opinion * weights[number] for number, opinion in enumerate(opinions)) >> 16
        chance = SQUASH[max(-MOST, min(MOST, total))]
        bit = self.bit(chance)
        error = (65535 if bit else 0) - chance
        if abs(error) > 64:
            for number, opinion in enumerate(opinions):
                weights[number] = signed(weights[number] + (opinion * (error * learning >> 2) + (1 << 15) >> 16))
            for slot in slots:
                slot.learn(bit, patience)
        return bit

    def bit(self, chance):
        middle = self.low + ((self.high - self.low) * chance >> 16)
        bit = int(self.code <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            byte = self.stream[self.at] if self.at < len(self.stream) else 0
            self.at += 1
            self.code = self.code << 8 & WORD | byte
            self.low, self.high = self.low << 8 & WORD, self.high << 8 & WORD | 0xFF
        return bit

    def end(self):
        last = self.low + (1 << 24) - 1 >> 24
        if len(self.stream) != self.at - 4 + 1 or self.code != last << 24:
            raise RefusedError
