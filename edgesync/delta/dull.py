"""Long repetitions of a few bytes, such as zeros, which bsdiff cannot search in bearable time.

Server only and pure. Where every suffix begins like thousands of others, each step of the search compares kilobytes:
two images of 2 MiB with one byte set here and there take 20 s, and "abcd" half a million times takes minutes. So
alignment leaves long repetitions out. Those between the same neighbours in both images are copied with these.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.copies import Copies
from edgesync.delta.ranges import Ranges, union

_BLOCK = 512
"""Bytes that are compared at a time, and that stay of a repetition."""
_LONG = 2048
"""Bytes of a repetition that is left out."""
_PERIODS = (48, 64, 80, 256)
"""Bytes after which something is repeated. These find shorter ones too: all that divide them, such as 1 to 6."""


def lively(image: bytes) -> Ranges:
    """All of an image but long repetitions, of which the first _BLOCK bytes stay."""
    data = np.frombuffer(image, np.uint8)
    cuts = [
        (start + _BLOCK, end)
        for period in _PERIODS
        for start, end in _repeated(data, period)
        if end - start >= _LONG + _BLOCK
    ]
    start, end = np.array(cuts, np.int64).reshape(-1, 2).T
    whole = union(np.zeros(1, np.int64), np.array([len(image)]))
    return whole.minus(union(start, end - start))


def _repeated(data: NDArray[np.uint8], period: int) -> Iterator[tuple[int, int]]:
    """Where each byte is the same as the one `period` bytes before, from the first to the last, for at least _BLOCK."""
    blocks = len(data) // _BLOCK
    if blocks < 2:
        return
    same = data[_BLOCK : blocks * _BLOCK] == data[_BLOCK - period : blocks * _BLOCK - period]
    whole = np.concatenate(([False], same.reshape(-1, _BLOCK).all(axis=1), [False]))
    edges = _BLOCK * (1 + np.flatnonzero(whole[1:] != whole[:-1]))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start = max(first - _BLOCK, period)
        before = data[start:first] != data[start - period : first - period]
        behind = data[last : last + _BLOCK] != data[last - period : last + _BLOCK - period][: len(data) - last]
        yield (
            first - int(before[::-1].argmax()) if before.any() else start,
            last + int(behind.argmax()) if behind.any() else last + len(behind),
        )


def bridged(copies: Copies, base: bytes, result: bytes) -> Copies:
    """The copies, longer where a gap behind them begins with the same bytes in both images; those that then go on in
    the next one are one copy with it.
    """
    end, shift = copies.at + copies.length, copies.base - copies.at
    behind = np.append(copies.at[1:], len(result))[: len(end)]
    for row in np.flatnonzero(behind - end >= _BLOCK).tolist():
        start, place = int(end[row]), int(end[row] + shift[row])
        size = min(int(behind[row]) - start, len(base) - place)
        other = np.frombuffer(base, np.uint8, size, place) != np.frombuffer(result, np.uint8, size, start)
        end[row] += int(other.argmax()) if other.any() else size
    goes_on = (copies.at[1:] == end[:-1]) & (shift[1:] == shift[:-1])
    fresh = np.flatnonzero(np.concatenate(([True], ~goes_on))[: len(end)])
    last = np.append(fresh[1:], len(end))[: len(fresh)] - 1
    return Copies(copies.at[fresh], copies.base[fresh], end[last] - copies.at[fresh])
