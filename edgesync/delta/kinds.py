"""Numbers of the format that both decoders share: what regions hold, kinds of reference, and their limits."""

from __future__ import annotations

from edgesync.delta import a64

FILE_SHIFT = 40
"""An address is the number of a file above so many bits of what the program itself calls the address."""
SLACK = 64
"""Bytes behind a piece that still belong to it: programs point at the end of things."""

NONE, CODE, POINTERS, RELATIVE, OFFSETS, SYMBOLS, CODE_32, POINTERS_32, RELATIVE_31, SYMBOLS_32 = range(10)
"""What a region holds: nothing known; AArch64 instructions; addresses of 64 bits; distances of 32 bits from themselves;
distances of 32 bits from an anchor; ELF symbols, whose names are counted from an anchor; A32 instructions; addresses of
32 bits; distances of 31 bits from themselves; ELF symbols of 32 bits."""

PAGE = 1 << 15
"""Words that are looked at in one go: bounds the memory; a reference that needs a word of another page is not found."""

# Kinds of reference. The relative forms of instructions come first, under their own numbers.
PLAIN = 0
PAGE_USED, PAGE_ALONE, LOW, POINTER, DISTANCE, OFFSET, EXTENT, NAME, SIZE, BRANCH, DISTANCE_31 = range(5, 16)
"""ADRP with a user; without; the user; the lower half of a pointer; a distance from the word itself or from the
instruction that adds it, or from an anchor; the length of what the DISTANCE before it, or a POINTER of 32 bits, points
at; the name of a symbol, and its size; a branch of A32; a distance of 31 bits."""
KINDS = range(16)
"""All of them."""
STRAIGHT = (a64.ADR, PAGE_USED, PAGE_ALONE)
"""Kinds that are corrected with the bits of their distance side by side."""
KIND_SHIFT = 58
"""Words are ordered by their kind above so many bits of the address that they refer to."""

EXTENT_LIMIT = 1 << 24
"""Bytes: what is longer is no length of a function or an object."""
INSTRUCTION = 4
"""A length is the way to the last instruction, and one more: behind the last may lie something else."""
FAR = 1 << 16
"""Bytes to the target of a DISTANCE, behind which a length may follow."""
UNWINDS_NOT = 1
"""Stands in a table of distances of 31 bits for a function that cannot be unwound."""
POINTER_MIN = 4096
"""Smaller numbers among pointers are sizes and flags."""
ENTRIES = {SYMBOLS: (24, 8, 16), SYMBOLS_32: (16, 4, 8)}
"""Bytes of an ELF symbol, of which the first are its name, and where its value and its size are."""
