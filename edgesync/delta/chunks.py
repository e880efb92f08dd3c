"""Unchanged and moved parts of two images, found by hashes of chunks that their own content cuts.

Server only and pure. A chunk ends where a hash of its last 32 bytes says so, so the same bytes are cut alike wherever
they lie. Of each chunk 64 bits of hash are kept: a wrong match is possible and costs bytes, nothing more.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesync.delta.copies import Copies
from edgesync.delta.ranges import Ranges, union
from edgesync.delta.varint import Ints

SHORTEST, LONGEST = 2 << 10, 64 << 10
"""Bytes of a chunk, but for the last of a span; 10 KiB are usual, so an image of 1 GiB has 100,000 of them."""
_WINDOW = 32
_RARE = 32 - 13
"""One position in 2**13 ends a chunk: the upper 13 bits of the hash, in which all bytes of the window count, are 0."""
_PIECE = 1 << 20
_SPREAD = np.array(
    [int.from_bytes(hashlib.blake2b(bytes([value]), digest_size=4).digest(), "little") for value in range(256)],
    np.uint32,
)


@dataclass(frozen=True, slots=True)
class Chunks:
    """Where each chunk begins in the image, its length in bytes, and its hash, in the order of the image."""

    start: Ints
    length: Ints
    digest: NDArray[np.uint64]


def cut(data: bytes, offset: int) -> Chunks:
    """The chunks of one span: the bytes of the image from `offset` on."""
    edges = np.array([0, *_ends(data)], np.int64)
    view = memoryview(data)
    digests = b"".join(
        hashlib.blake2b(view[start:end], digest_size=8).digest()
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    )
    return Chunks(offset + edges[:-1], np.diff(edges), np.frombuffer(digests, np.uint64))


def joined(parts: Sequence[Chunks]) -> Chunks:
    return Chunks(
        np.concatenate([np.zeros(0, np.int64), *(part.start for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.length for part in parts)]),
        np.concatenate([np.zeros(0, np.uint64), *(part.digest for part in parts)]),
    )


def blank(chunks: Chunks) -> Ranges:
    """Long runs of zeros, which cost nothing to send and much to search."""
    zeros = (chunks.length == LONGEST) & (chunks.digest == cut(bytes(LONGEST), 0).digest[0])
    return union(chunks.start[zeros], chunks.length[zeros])


def match(base: Chunks, result: Chunks) -> Copies:
    """The chunks of the result that are in the base. Of several that are equal the one that goes on where the match
    before ended; else the nearest to it, so that what did not move is found where it was.
    """
    order = np.lexsort((base.start, base.digest))
    digest, starts = base.digest[order], base.start[order].tolist()
    first = np.searchsorted(digest, result.digest, side="left")
    behind = np.searchsorted(digest, result.digest, side="right")
    shift, rows = 0, list[tuple[int, int, int]]()
    for index in np.flatnonzero(behind > first).tolist():
        at, low, high = int(result.start[index]), int(first[index]), int(behind[index])
        if high - low > 1:
            found = bisect_left(starts, at + shift, low, high)
            near = [starts[place] for place in (found - 1, found) if low <= place < high]
            place = min(near, key=lambda start: abs(start - at - shift))
        else:
            place = starts[low]
        shift = place - at
        rows.append((at, place, int(result.length[index])))
    return Copies(*np.array(rows, np.int64).reshape(-1, 3).T.copy())


def _ends(data: bytes) -> Iterator[int]:
    start = 0
    for end in _candidates(np.frombuffer(data, np.uint8)):
        while end - start > LONGEST:
            start += LONGEST
            yield start
        if end - start >= SHORTEST or (end == len(data) and end > start):
            start = end
            yield start


def _candidates(data: NDArray[np.uint8]) -> Iterator[int]:
    """Where a chunk may end, ascending, and at last the end."""
    for start in range(0, len(data), _PIECE):
        before = min(start, _WINDOW - 1)
        piece = data[start - before : start + _PIECE]
        if piece.any():
            value = _SPREAD[piece]
            for width in (1, 2, 4, 8, 16):
                value[width:] += value[:-width] << np.uint32(width)
            ends = np.flatnonzero(value >> np.uint32(_RARE) == 0) - before
            yield from (start + 1 + ends[ends >= 0]).tolist()
    yield len(data)
