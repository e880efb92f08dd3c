"""AArch64 instructions of arrays of words (uint32): what `a64` does one by one, in exact whole-number arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.a64 import ADR, CLEAR, FIELDS, FORMS, OTHER, PAGE, REACH, SCALE_OF, TOP

Words = NDArray[np.uint32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_LOW = 0xFFF << 10
_FORMS, _CLEAR = np.frombuffer(FORMS, np.uint8), np.array(CLEAR, np.uint32)
_SCALES = np.frombuffer(SCALE_OF, np.uint8).astype(np.int64)


def forms(words: Words) -> Bytes:
    """The form of each word, if it is an instruction."""
    top = words >> TOP
    found: Bytes = _FORMS[top]
    found[words & _CLEAR[top] != 0] = OTHER
    return found


def distance(words: Words, form: int) -> Ints:
    """Bytes from each instruction, all of one RELATIVE form, to its target; pages for PAGE."""
    if form in (ADR, PAGE):
        return _signed(_page_bits(words), 21)
    shift, bits = FIELDS[form]
    return _signed(words.astype(np.int64) >> shift, bits) * 4


def with_distance(words: Words, form: int, distances: Ints) -> Words:
    """The same instructions with other distances; bits that do not fit are dropped."""
    if form in (ADR, PAGE):
        value = (distances & 0x1FFFFF).astype(np.uint32)
        return _words((words & np.uint32(0x9F00001F)) | (value & 3) << 29 | value >> 2 << 5)
    shift, bits = FIELDS[form]
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
    scale: Ints = _SCALES[words >> TOP]
    return scale


def _page_bits(words: Words) -> Ints:
    """The 21 bits of the distance in an ADR or ADRP, which are in two places."""
    return ((words >> 5 & 0x7FFFF) << 2 | (words >> 29 & 3)).astype(np.int64)


def _signed(values: Ints, bits: int) -> Ints:
    half = 1 << (bits - 1)
    return ((values & ((1 << bits) - 1)) ^ half) - half


def _words(values: NDArray[np.unsignedinteger[Any]]) -> Words:
    """The same words: numpy's types do not know that the operators above keep them 32 bits wide."""
    return values.astype(np.uint32, copy=False)
