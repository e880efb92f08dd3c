"""A32 instructions of arrays of words (uint32): what `a32` does one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.a32 import ADDS, AHEAD, LOADS, REACH
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


def literals(words: Words, known: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Indices of the literals that are added to an address, ascending and each once, and of the instruction that adds
    it first. Only the words that are `known` count.
    """
    mask, value = LOADS
    loads = np.flatnonzero(known & (words & (mask | 3) == value))
    adds = np.flatnonzero(known & np.logical_or.reduce([words & mask == value for mask, value in ADDS]))
    if not len(loads):
        return loads, loads
    # Ordered by register, then by place: the LDR that is looked for stands right before the key of what adds.
    keys = np.sort((words[loads] >> 12 & 15).astype(np.int64) << 32 | loads)
    wanted = (words[adds] & 15).astype(np.int64) << 32 | adds
    nearest = keys[np.maximum(np.searchsorted(keys, wanted) - 1, 0)]
    step = wanted - nearest
    near = (step > 0) & (step <= REACH)
    adds, load = adds[near], nearest[near] & 0xFFFFFFFF
    steps = (words[load] & 0xFFF).astype(np.int64) // 4
    literal = load + AHEAD // 4 + np.where(words[load] & 1 << 23, steps, -steps)
    inside = (literal >= 0) & (literal < len(words))
    literal, adds = literal[inside], adds[inside]
    literal, adds = literal[known[literal]], adds[known[literal]]
    literal, first = np.unique(literal, return_index=True)
    return literal, adds[first]
