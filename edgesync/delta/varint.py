"""Arrays of whole numbers as bytes, as in `leb128`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.leb128 import VarintError

Ints = NDArray[np.int64]

_BLOCK = 1 << 14
"""Numbers that are decoded in one go, which bounds the memory that it takes."""


def encode(numbers: Ints) -> bytes:
    """Numbers of at least 0, shape (n,)."""
    rest = np.asarray(numbers, np.int64)
    assert rest.min(initial=0) >= 0
    sizes = np.ones(len(rest), np.int64)
    while (rest := rest >> 7).any():
        sizes += rest > 0
    starts = np.cumsum(sizes) - sizes
    out = np.zeros(int(sizes.sum()), np.uint8)
    for group in range(int(sizes.max(initial=0))):
        has = sizes > group
        more = np.where(sizes[has] > group + 1, 0x80, 0)
        out[starts[has] + group] = (numbers[has] >> (7 * group)) & 0x7F | more
    return out.tobytes()


def decode(data: bytes, count: int, limit: int) -> Ints:
    """`count` numbers of at most `limit` bytes each, shape (count,). Raises VarintError for anything else."""
    groups = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(groups < 0x80)
    if len(ends) != count or (len(groups) and groups[-1] >= 0x80):
        raise VarintError(f"found {len(ends)} numbers in {len(data)} bytes, expected {count}")
    numbers = np.zeros(count, np.int64)
    for first in range(0, count, _BLOCK):
        block = ends[first : first + _BLOCK]
        starts = np.concatenate(([ends[first - 1] + 1 if first else 0], block[:-1] + 1))
        sizes = block - starts + 1
        if (longest := int(sizes.max())) > limit:
            raise VarintError(f"found a number of {longest} bytes, at most {limit}")
        for group in range(longest):
            has = np.flatnonzero(sizes > group)
            numbers[first + has] |= (groups[starts[has] + group].astype(np.int64) & 0x7F) << (7 * group)
    return numbers


def fold(numbers: Ints) -> Ints:
    """Signed to unsigned: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    return (numbers << 1) ^ (numbers >> 63)


def unfold(numbers: Ints) -> Ints:
    """The inverse of `fold`."""
    return (numbers >> 1) ^ -(numbers & 1)
