"""Long repetitions of a few bytes, such as zeros, which bsdiff cannot search in bearable time.

Server only and pure. Where every suffix begins like thousands of others, each step of the search compares kilobytes:
two images of 2 MiB with one byte set here and there take 20 s, and "abcd" half a million times takes minutes. So
alignment leaves long repetitions out. Those between the same neighbours in both images are copied with these.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.common import Samples, periods
from edgesync.delta.copies import Copies
from edgesync.delta.ranges import Ranges, union
from edgesync.delta.varint import Ints

_BLOCK = 512
"""Bytes that are compared at a time, and that stay of a repetition."""
_LONG = 2048
"""Bytes of a repetition that is left out."""
_PERIODS = (48, 64, 80, 256)
"""Bytes after which something is repeated. These find shorter ones too: all that divide them, such as 1 to 6."""
_LONGEST, _OFTEN, _FOUND = 64 << 10, 512, 4
"""Other periods are found by samples: up to so many bytes, so many repeated, the so many most frequent."""
_LEAST = 64
"""Bytes of a copy in a gap."""


def lively(image: bytes, some: Samples) -> Ranges:
    """All of an image but long repetitions, of which the first _BLOCK bytes stay. `some` are its samples."""
    data = np.frombuffer(image, np.uint8)
    cuts = [
        (start + _BLOCK, end)
        for period in (*_PERIODS, *periods(some, _LONGEST, _OFTEN, _FOUND))
        for start, end in _repeated(data, period)
        if end - start >= _LONG + _BLOCK
    ]
    start, end = np.array(cuts, np.int64).reshape(-1, 2).T
    whole = union(np.zeros(1, np.int64), np.array([len(image)]))
    return whole.minus(union(start, end - start))


def _repeated(data: NDArray[np.uint8], period: int) -> Iterator[tuple[int, int]]:
    """Where each byte is the same as the one `period` bytes before, from the first to the last, for at least _BLOCK."""
    blocks, skipped = len(data) // _BLOCK, -(-period // _BLOCK)
    if blocks <= skipped:
        return
    begin, behind = skipped * _BLOCK, blocks * _BLOCK
    same = data[begin:behind] == data[begin - period : behind - period]
    whole = np.concatenate(([False], same.reshape(-1, _BLOCK).all(axis=1), [False]))
    edges = begin + _BLOCK * np.flatnonzero(whole[1:] != whole[:-1])
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start = max(first - _BLOCK, period)
        before = data[start:first] != data[start - period : first - period]
        after = data[last : last + _BLOCK] != data[last - period : last + _BLOCK - period][: len(data) - last]
        yield (
            first - int(before[::-1].argmax()) if before.any() else start,
            last + int(after.argmax()) if after.any() else last + len(after),
        )


def bridged(copies: Copies, base: bytes, result: bytes) -> Copies:
    """The copies and, in long gaps between them, what is the same in both images as far from each other as in the copy
    before the gap, in the one behind it, or at the same place. Those that go on in the next one are one copy with it.
    """
    old, new = np.frombuffer(base, np.uint8), np.frombuffer(result, np.uint8)
    end, shift = copies.at + copies.length, copies.base - copies.at
    starts, ends = np.append(0, end), np.append(copies.at, len(result))
    before, behind = np.append(0, shift), np.append(shift, 0)
    found = [np.stack((copies.at, end, shift))]
    for gap in np.flatnonzero(ends - starts >= _BLOCK).tolist():
        left = np.array([[starts[gap]], [ends[gap]]])
        for step in (int(before[gap]), int(behind[gap]), 0):
            runs = [_equal(old, new, start, end, step) for start, end in left.T.tolist()]
            found += [np.stack((*run, np.full(len(run[0]), step))) for run in runs]
            edges = np.sort(np.concatenate([left.ravel(), *(run.ravel() for run in runs)]))
            left = edges.reshape(-1, 2).T
            left = left[:, left[1] - left[0] >= _BLOCK]
    at, end, shift = np.concatenate(found, axis=1)
    order = np.argsort(at, kind="stable")
    at, end, shift = at[order], end[order], shift[order]
    fresh = np.flatnonzero(np.concatenate(([True], (at[1:] != end[:-1]) | (shift[1:] != shift[:-1])))[: len(at)])
    last = np.append(fresh[1:], len(end))[: len(fresh)] - 1
    return Copies(at[fresh], (at + shift)[fresh], end[last] - at[fresh])


def _equal(old: NDArray[np.uint8], new: NDArray[np.uint8], start: int, end: int, shift: int) -> Ints:
    """Where `new` from `start` to `end` is the same for at least _LEAST bytes as `old` that far away: starts, ends."""
    start, end = max(start, -shift), min(end, len(old) - shift)
    if end <= start:
        return np.zeros((2, 0), np.int64)
    same = np.concatenate(([False], new[start:end] == old[start + shift : end + shift], [False]))
    runs: Ints = start + np.flatnonzero(same[1:] != same[:-1]).reshape(-1, 2).T
    return runs[:, runs[1] - runs[0] >= _LEAST]
