"""AArch64 instructions, as far as a delta must know them: which words hold an address, and in which bits.

Code that moves keeps its instructions; what changes in them is the distance to what they refer to. Five forms hold a
distance from the instruction itself, two hold the low bits of an address whose upper bits an ADRP before them loaded.
Here one word at a time, and standard library only; `aarch64` does the same for arrays.
"""

from __future__ import annotations

OTHER, BRANCH, NEAR, TEST, ADR, PAGE, ADD, ACCESS = range(8)
"""Forms: none; B and BL; B.cond, CBZ and LDR of a literal; TBZ; ADR; ADRP; ADD of a constant; load or store."""
RELATIVE = (BRANCH, NEAR, TEST, ADR)
"""Forms whose target is a distance in bytes from their own address."""
REACH = 48
"""Words between an ADRP and what uses its register, at most: compilers keep them together."""

PATTERNS = (
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
"""Form: bits that are compared, and their value."""
SCALES = ((0xFFC00000, 0x91000000, 0), (0xC4800000, 0x04800000, 4))
"""Bits that are compared, their value, and by how many bits the constant is shifted: not at all in ADD; to 16 bytes for
a vector register. Otherwise the upper two bits say it, which are the size of what is loaded or stored.
"""
FIELDS = {BRANCH: (0, 26), NEAR: (5, 19), TEST: (5, 14)}
"""Form: lowest bit and number of bits of a distance in words."""

TOP = 22
"""What tells forms apart is in the bits from here on, and in those that must be clear."""


def _tables() -> tuple[bytes, tuple[int, ...], bytes]:
    """By the upper bits of a word: its form, the lower bits that must be clear for that, the scale of its constant."""
    forms, clear, scales = bytearray(1 << 32 - TOP), [0] * (1 << 32 - TOP), bytearray(1 << 32 - TOP)
    for top in range(len(forms)):
        word = top << TOP
        for form, mask, value in PATTERNS:
            if word & mask == value:
                forms[top], clear[top] = form, mask & (1 << TOP) - 1
        scales[top] = next((scale for mask, value, scale in SCALES if word & mask == value), word >> 30)
    return bytes(forms), tuple(clear), bytes(scales)


FORMS, CLEAR, SCALE_OF = _tables()
"""What `_tables` says, by the upper bits of a word from TOP on."""
_DISTANCES = {form: (shift, (1 << bits) - 1, 1 << bits - 1) for form, (shift, bits) in FIELDS.items()}


def form_of(word: int) -> int:
    top = word >> TOP
    return OTHER if word & CLEAR[top] else FORMS[top]


def distance(word: int, form: int) -> int:
    """Bytes from an instruction of a RELATIVE form to its target; pages for PAGE."""
    if form in _DISTANCES:
        shift, mask, sign = _DISTANCES[form]
        return ((word >> shift & mask ^ sign) - sign) * 4
    return (_page_bits(word) ^ 1 << 20) - (1 << 20)


def with_distance(word: int, form: int, distance: int) -> int:
    """The same instruction with another distance; bits that do not fit are dropped."""
    if form in _DISTANCES:
        shift, mask, _ = _DISTANCES[form]
        return word & ~(mask << shift) | (distance >> 2 & mask) << shift
    return word & 0x9F00001F | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5


def low(word: int) -> int:
    """Bytes that an ADD or ACCESS adds to a register."""
    return (word >> 10 & 0xFFF) << SCALE_OF[word >> TOP]


def with_low(word: int, address: int) -> int:
    """The same instruction with the low 12 bits of another address."""
    return word & ~(0xFFF << 10) | (address & 0xFFF) >> SCALE_OF[word >> TOP] << 10


def straighten(word: int) -> int:
    """An ADR or ADRP with the bits of the distance side by side, so that a difference of two is one number."""
    return word & 1 << 31 | (word >> 24 & 31) << 26 | _page_bits(word) << 5 | word & 31


def bend(word: int) -> int:
    """The inverse of `straighten`."""
    value = word >> 5 & 0x1FFFFF
    return word & 1 << 31 | (word >> 26 & 31) << 24 | (value & 3) << 29 | value >> 2 << 5 | word & 31


def _page_bits(word: int) -> int:
    """The 21 bits of the distance in an ADR or ADRP, which are in two places."""
    return (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
