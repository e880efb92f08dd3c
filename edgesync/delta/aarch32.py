"""Branches of 32-bit ARM in arrays of words (uint32): what `a32` does one by one."""

from __future__ import annotations

import numpy as np

from edgesync.delta.a32 import AHEAD
from edgesync.delta.aarch64 import Ints, Words


def branches(words: Words) -> Ints:
    """Indices of the words that are a branch, if they are instructions."""
    return np.flatnonzero((words >> 25 & 7) == 5)


def distance(words: Words) -> Ints:
    """Bytes from each branch to its target."""
    return (((words.astype(np.int64) & 0xFFFFFF) ^ 1 << 23) - (1 << 23)) * 4 + AHEAD


def with_distance(words: Words, distances: Ints) -> Words:
    """The same branches with other distances; bits that do not fit are dropped."""
    return ((words & 0xFF000000) | ((distances - AHEAD >> 2) & 0xFFFFFF)).astype(np.uint32)
