"""What two images may have in common, told by samples: what is only in one, such as noise, is not worth a search.

Server only and pure. A sample is 8 bytes that a hash of theirs chooses, so that equal parts have equal samples wherever
they lie. A block of which no sample is in the other image resembles nothing there; bsdiff would take longer for it than
for anything else, the more so the longer the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.ranges import Ranges, joined
from edgesync.delta.varint import Ints

_BLOCK = 1 << 14
"""Bytes that are judged at a time, and that stay at either end of what is left out."""
_LONG = 64
"""Blocks that are left out, together. Fewer cost the search little, and may resemble something after all: tables of
which each entry changed have no 8 bytes in common, and bsdiff follows them through their differences.
"""
_ENOUGH = 128
"""Samples of a block without which nothing is known of it: a quarter of what noise has."""
_RARE = np.uint64(64 - 5)
"""One position in 2**5 is a sample. Zeros never are."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_PIECE = 1 << 20
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Samples:
    """Where they are in an image of `total` bytes, in no order, and their bytes as numbers; shape (n,)."""

    at: Ints
    value: NDArray[np.uint64]
    total: int


def samples(image: bytes) -> Samples:
    at, value = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for start in range(0, len(image), _PIECE):
        piece = image[start : start + _PIECE + _WIDTH - 1]
        for phase in range(min(_WIDTH, len(piece) - _WIDTH + 1)):
            numbers = np.frombuffer(piece, "<u8", (len(piece) - phase) // _WIDTH, phase)
            chosen = np.flatnonzero(numbers * _SPREAD >> _RARE == 1)
            at.append(start + phase + _WIDTH * chosen)
            value.append(numbers[chosen])
    return Samples(np.concatenate(at), np.concatenate(value), len(image))


def periods(some: Samples, longest: int, least: int, most: int) -> list[int]:
    """The distances, up to `longest` bytes, at which at least `least` samples are repeated; at most `most` of them."""
    order = np.lexsort((some.at, some.value))
    at, value = some.at[order], some.value[order]
    steps = np.diff(at)[value[1:] == value[:-1]]
    counts = np.bincount(steps[steps <= longest], minlength=1)
    often = np.flatnonzero(counts >= least)
    return [int(step) for step in often[np.argsort(-counts[often], kind="stable")][:most]]


def foreign(some: Samples, other: Samples) -> Ranges:
    """The parts of an image that resemble nothing in the other one."""
    known = np.sort(other.value)
    found = np.searchsorted(known, some.value, side="right") > np.searchsorted(known, some.value)
    blocks = -(-some.total // _BLOCK)
    samples_of = np.bincount(some.at // _BLOCK, minlength=blocks)
    found_of = np.bincount(some.at[found] // _BLOCK, minlength=blocks)
    strange = np.concatenate(([True], (samples_of >= _ENOUGH) & (found_of == 0), [True]))
    inside = strange[:-2] & strange[1:-1] & strange[2:]
    start, end = np.flatnonzero(np.diff(inside, prepend=False, append=False)).reshape(-1, 2).T
    start, end = start[end - start >= _LONG], end[end - start >= _LONG]
    return joined(start * _BLOCK, np.minimum(some.total, end * _BLOCK) - start * _BLOCK)
