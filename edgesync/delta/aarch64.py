"""AArch64 instructions, as far as a delta must know them: which words hold an address, and in which bits.

Code that moves keeps its instructions; what changes in them is the distance to what they refer to. Five forms hold a
distance from the instruction itself, two hold the low bits of an address whose upper bits an ADRP before them loaded.
All functions take and give arrays of instruction words (uint32) and are exact whole-number arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

OTHER, BRANCH, NEAR, TEST, ADR, PAGE, ADD, ACCESS = range(8)
"""Forms: none; B and BL; B.cond, CBZ and LDR of a literal; TBZ; ADR; ADRP; ADD of a constant; load or store."""
RELATIVE = (BRANCH, NEAR, TEST, ADR)
"""Forms whose target is a distance in bytes from their own address."""
REACH = 48
"""Words between an ADRP and what uses its register, at most: compilers keep them together."""

# Form: bits that are compared, and their value.
_PATTERNS = (
    (BRANCH, 0x7C000000, 0x14000000),
    (NEAR, 0xFF000010, 0x54000000),
    (NEAR, 0x7E000000, 0x34000000),
    (NEAR, 0x3B000000, 0x18000000),
    (TEST, 0x7E000000, 0x36000000),
    (ADR, 0x9F000000, 0x10000000),
    (PAGE, 0x9F000000, 0x90000000),
    (ADD, 0xFFC00000, 0x91000000),
    (ACCESS, 0x3B000000, 0x39000000),
)
# Form: lowest bit and number of bits of a distance in words.
_FIELDS = {BRANCH: (0, 26), NEAR: (5, 19), TEST: (5, 14)}
_LOW = 0xFFF << 10


def forms(words: Words) -> Bytes:
    """The form of each word, if it is an instruction."""
    found = np.zeros(len(words), np.uint8)
    for form, mask, value in _PATTERNS:
        found[(words & np.uint32(mask)) == value] = form
    return found


def distance(words: Words, form: int) -> Ints:
    """Bytes from each instruction, all of one RELATIVE form, to its target; pages for PAGE."""
    if form in (ADR, PAGE):
        return _signed(_page_bits(words), 21)
    shift, bits = _FIELDS[form]
    return _signed(words.astype(np.int64) >> shift, bits) * 4


def with_distance(words: Words, form: int, distances: Ints) -> Words:
    """The same instructions with other distances; bits that do not fit are dropped."""
    if form in (ADR, PAGE):
        value = (distances & 0x1FFFFF).astype(np.uint32)
        return _words((words & np.uint32(0x9F00001F)) | (value & 3) << 29 | value >> 2 << 5)
    shift, bits = _FIELDS[form]
    mask = (1 << bits) - 1
    value = ((distances >> 2) & mask).astype(np.uint32)
    return _words((words & np.uint32(~(mask << shift) & 0xFFFFFFFF)) | value << shift)


def low(words: Words) -> Ints:
    """Bytes that ADD and ACCESS instructions add to a register."""
    return (words >> 10 & 0xFFF).astype(np.int64) << _scale(words)


def with_low(words: Words, addresses: Ints) -> Words:
    """The same instructions with the low 12 bits of other addresses."""
    value = (addresses & 0xFFF) >> _scale(words)
    return _words((words & np.uint32(~_LOW & 0xFFFFFFFF)) | value.astype(np.uint32) << 10)


def feeders(words: Words, pages: Ints, users: Ints) -> Ints:
    """For each ADD or ACCESS at index `users`, which of the ADRPs at the ascending indices `pages` loaded its
    register: an index of a word, or -1 for none within REACH.
    """
    if not len(pages):
        return np.full(len(users), -1, np.int64)
    # Ordered by register, then by place: the ADRP that is looked for stands right before the user's own key.
    keys = np.sort((words[pages] & 31).astype(np.int64) << 32 | pages)
    wanted = (words[users] >> 5 & 31).astype(np.int64) << 32 | users
    nearest = keys[np.maximum(np.searchsorted(keys, wanted) - 1, 0)]
    step = wanted - nearest
    return np.where((step > 0) & (step <= REACH), nearest & 0xFFFFFFFF, -1)


def straighten(words: Words) -> Words:
    """ADR and ADRP words with the bits of the distance side by side, so that a difference of two is one number."""
    value = _page_bits(words).astype(np.uint32)
    return _words((words & np.uint32(1 << 31)) | (words >> 24 & 31) << 26 | value << 5 | (words & 31))


def bend(words: Words) -> Words:
    """The inverse of `straighten`."""
    value = words >> 5 & 0x1FFFFF
    upper, lower = (words & np.uint32(1 << 31)) | (words >> 26 & 31) << 24, words & 31
    return _words(upper | (value & 3) << 29 | value >> 2 << 5 | lower)


def _scale(words: Words) -> Ints:
    """Bits by which the constant is shifted: none for ADD, the size of what is loaded or stored otherwise."""
    size = (words >> 30).astype(np.int64)
    size[(words & np.uint32(0xC4800000)) == 0x04800000] = 4  # a vector register of 16 bytes
    size[(words & np.uint32(0xFFC00000)) == 0x91000000] = 0
    return size


def _page_bits(words: Words) -> Ints:
    """The 21 bits of the distance in an ADR or ADRP, which are in two places."""
    return ((words >> 5 & 0x7FFFF) << 2 | (words >> 29 & 3)).astype(np.int64)


def _signed(values: Ints, bits: int) -> Ints:
    half = 1 << (bits - 1)
    return ((values & ((1 << bits) - 1)) ^ half) - half


def _words(values: NDArray[np.unsignedinteger[Any]]) -> Words:
    """The same words: numpy's types do not know that the operators above keep them 32 bits wide."""
    return values.astype(np.uint32, copy=False)
