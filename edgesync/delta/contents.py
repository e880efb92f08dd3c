"""What the bytes of a program hold where no section table says it, guessed by their look: of each kilobyte, and which
instructions 32-bit ARM has.

Server only. Code has calls and ADRPs, tables of pointers have numbers that are addresses of the program, tables of
distances have words that reach into it from where they stand, and tables of offsets ascend.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgesync.delta import a64, aarch64
from edgesync.delta.aarch64 import Words
from edgesync.delta.kinds import CODE, NONE, OFFSETS, POINTERS, RELATIVE
from edgesync.delta.varint import Ints

BLOCK = 1 << 10
"""Bytes that hold one kind of thing: a smaller block has too few words to tell, a larger one too many kinds."""
_WORDS = BLOCK // 4
# Of the 256 words of a block, or its 128 numbers of 64 bits, so many at least.
_CALLS, _POINTERS, _DISTANCES, _ASCENDING = 5, 5, 70, 240
_FAR = 1 << 16
"""Bytes that a distance has at least: shorter ones look like any small number."""
_STEP = 1 << 16
_ALWAYS, _A32_LEAST = 14, 3 / 8
"""The condition of an instruction that is carried out under any, and the share of these."""

Kinds = NDArray[np.uint8]


def kinds(words: Words, base: int, memory: int) -> Kinds:
    """The kind of each block of a program that runs at the address `base`, as one piece of `memory` bytes."""
    blocks = -(-len(words) // _WORDS)
    found = np.full(blocks, NONE, np.uint8)
    form = aarch64.forms(words)
    calls = _count((form == a64.BRANCH) | (form == a64.PAGE), _WORDS, blocks)
    signed = words.view("<i4").astype(np.int64)
    target = 4 * np.arange(len(words), dtype=np.int64) + signed
    distances = _count((np.abs(signed) > _FAR) & (target >= 0) & (target < memory), _WORDS, blocks)
    whole = words[: len(words) // 2 * 2].view("<u8")
    pointers = _count(whole - np.uint64(base) < np.uint64(memory), _WORDS // 2, blocks)
    step = np.diff(words.astype(np.int64), prepend=0)
    ascending = _count((step >= 0) & (step < _STEP) & (words > _POINTERS) & (words < memory), _WORDS, blocks)
    found[calls >= _CALLS] = CODE
    found[(distances >= _DISTANCES) & (calls < _CALLS * _CALLS)] = RELATIVE
    found[pointers >= _POINTERS] = POINTERS
    found[ascending >= _ASCENDING] = OFFSETS
    return found


def _count(mask: NDArray[np.bool_], size: int, blocks: int) -> Ints:
    """How often it is true in each block of `size`."""
    padded = np.zeros(blocks * size, np.bool_)
    padded[: len(mask)] = mask
    counts: Ints = np.count_nonzero(padded.reshape(blocks, size), axis=1)
    return counts


def is_a32(image: bytes, start: int, end: int) -> bool:
    """Whether instructions of 32-bit ARM are A32 and not Thumb, by how many are carried out under any condition: 49 to
    86 % of the words of libraries in A32, which may have parts in Thumb, and at most 27 % of the others.
    """
    words = np.frombuffer(image, "<u4", (end - start) // 4, start)
    return int(np.count_nonzero(words >> 28 == _ALWAYS)) > _A32_LEAST * len(words)
