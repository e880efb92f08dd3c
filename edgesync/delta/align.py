"""Aligning two images: which ranges of the result resemble which of the base.

Server only. First over the plain images; then, once it is known what moved where, over images in which each reference
is written as the address that it means in the result. Code that only moved is equal in those, so the second alignment
goes on where the first was broken by every branch. Each takes about 18 bytes of memory a byte of the base.
"""

from __future__ import annotations

import bsdiff4.core
import numpy as np

from edgesync.delta import kinds, rewrite
from edgesync.delta.addresses import NO_STEPS, Tables
from edgesync.delta.chapter import moves_between
from edgesync.delta.common import foreign, samples
from edgesync.delta.copies import Copies
from edgesync.delta.dull import bridged, lively
from edgesync.delta.format import WORD
from edgesync.delta.layout import Layout
from edgesync.delta.ranges import in_images
from edgesync.delta.varint import Ints


def align(base: bytes, result: bytes) -> Copies:
    """Where each range of the result resembles the base, over whole images."""
    old, new = samples(base), samples(result)
    views = lively(base, old).minus(foreign(old, new)), lively(result, new).minus(foreign(new, old))
    if all(view.total == len(image) for view, image in zip(views, (base, result), strict=True)):
        return _bsdiff(base, result)
    found = _bsdiff(views[0].of(base), views[1].of(result))
    return bridged(in_images(found, *views), base, result)


def _bsdiff(base: bytes, result: bytes) -> Copies:
    control, _, _ = bsdiff4.core.diff(base, result)
    # Rows of copy length, extra length, step in the base; signed numbers are a magnitude and a sign bit.
    raw = np.frombuffer(control, "<u8").reshape(-1, 3)
    magnitude = (raw & np.uint64((1 << 63) - 1)).astype(np.int64)
    rows = np.where(raw >> np.uint64(63), -magnitude, magnitude)
    length, extra, step = rows.T
    at = np.cumsum(length + extra) - (length + extra)
    place = np.cumsum(length + step) - (length + step)
    return Copies(at, place, length).at_least(1)


def realign(base: bytes, result: bytes, copies: Copies, known: Layout) -> Copies:
    """The alignment of both images with absolute references, which `copies` helped to find."""
    moves = moves_between(copies, known.base, known.result, len(base), len(result))
    there = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    return align(absolute(base, there), absolute(result, itself(known)))


def itself(known: Layout) -> Tables:
    """Tables with which the result is its own base, and nothing moves."""
    return Tables(known.result, known.result, NO_STEPS, NO_STEPS, known.result_regions, known.bias)


def absolute(image: bytes, tables: Tables) -> bytes:
    """The image with each reference as the address in the result."""
    count = len(image) // WORD
    words = np.frombuffer(image, "<u4", count).copy()
    for start in range(0, count, kinds.PAGE):
        page = words[start : start + kinds.PAGE]
        page[:] = rewrite.absolute(page, places(start, len(page)), tables)
    return bytes(words.tobytes() + image[WORD * count :])


def places(start: int, count: int) -> Ints:
    """Offsets of `count` words of an image from word `start` on."""
    return WORD * np.arange(start, start + count, dtype=np.int64)
