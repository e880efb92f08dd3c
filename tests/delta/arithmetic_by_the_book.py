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
    table, x = [0] * 65536, 0
    for p in range(32768, 65536):
        while x < MOST and SQUASH[x + 1] <= p:
            x += 1
        table[p], table[65535 - p] = x, -x
    return table


SQUASH = _squashed()
STRETCH = _stretched()


def hashed(value, *others):
    value = value * 0x9E3779B1 & WORD
    value = (value ^ value >> 15) * 0x85EBCA6B & WORD
    value ^= value >> 13
    return hashed(value + others[0] & WORD) if others else value


@dataclass(slots=True)
class Slot:
    """One decision in one context."""

    chance: int = 1 << 21
    count: int = 0


class Decoder:
    """Decisions from a stream."""

    def __init__(self, stream):
        self.stream, self.at, self.low, self.high = stream, 4, 0, WORD
        self.code = int.from_bytes(stream[:4].ljust(4, b"\0"), "big")

    def mix(self, slots, weights, learning, patience):
        """A decision that the slots have opinions of; `weights` has the weight of each by its number."""
        opinions = [STRETCH[slot.chance >> 6] for slot in slots]
        total = sum(opinion * weights[number] >> 8 for number, opinion in enumerate(opinions)) >> 8
        chance = SQUASH[max(-MOST, min(MOST, total))]
        bit = self.bit(chance)
        error = (65535 if bit else 0) - chance
        if abs(error) > 64:
            for number, opinion in enumerate(opinions):
                weight = weights[number] + (opinion * (error * learning >> 2) + (1 << 15) >> 16)
                weights[number] = max(-(1 << 19), min(1 << 19, weight))
            for slot in slots:
                rate = 327680 // (5 * slot.count + 6)
                slot.chance += ((1 << 22) - 1 - slot.chance) * rate >> 16 if bit else -(slot.chance * rate >> 16)
                slot.count = min(slot.count + 1, patience)
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
