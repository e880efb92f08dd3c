"""An image with the parts of each program put together: a file system may store a file in several places, and what a
program refers to is found only where all of it is.

Server only. Two views are aligned as any two images are; `placed` tells what was found in terms of the images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesync.delta import atlas, trees
from edgesync.delta.copies import Copies
from edgesync.delta.disk import size_of
from edgesync.delta.format import derived_at
from edgesync.delta.plan import Alignment
from edgesync.delta.ranges import HOLE, Ranges, in_images, ranges, together, union
from edgesync.delta.trees import File

_PROGRAM = b"\x7fELF"


def is_program(fd: int, file: File) -> bool:
    """Whether a file of an image begins as programs do. Raises StorageError."""
    return file.ranges.part(0, len(_PROGRAM)).read(fd, file.path) == _PROGRAM


def view(fd: int) -> Ranges:
    """All of an image in its order, but for programs that lie in several places: those are whole where their first part
    is. Raises StorageError.
    """
    scattered = [file.ranges for file in trees.files(fd) if _parts(file.ranges) > 1 and is_program(fd, file)]
    taken = together(part.stored() for part in scattered)
    whole = union(np.zeros(1, np.int64), np.array([size_of(fd)]))
    rest = whole.minus(union(taken.offset, taken.length))
    rows = [ranges([row]) for row in zip(rest.offset.tolist(), rest.length.tolist(), strict=True)]
    return together(sorted([*rows, *scattered], key=lambda part: int(part.stored().offset[0])))


def placed(found: Alignment, base: Ranges, result: Ranges, lengths: tuple[int, int]) -> Alignment:
    """The alignment of two views as one of the images, which have these lengths."""
    known = atlas.placed(found.known, base, result, lengths)
    stored = found.copies.within(base.total)
    copies, types = in_images(stored, base, result), found.types
    if types:
        place = base.part(types.how.base_at, types.how.base_length)
        if len(place.offset) == 1:
            types = replace(types, how=replace(types.how, base_at=int(place.offset[0])))
            copies = copies.merged(_derived(found.copies, base, result, lengths[0]))
        else:
            types = None  # a board reads the section in one piece
    return Alignment(copies, known, types)


def _parts(some: Ranges) -> int:
    """In how many places a file lies."""
    goes_on = (some.offset[1:] == (some.offset + some.length)[:-1]) & (some.offset[1:] != HOLE)
    return len(some.offset) - int(goes_on.sum())


def _derived(copies: Copies, base: Ranges, result: Ranges, length: int) -> Copies:
    """The copies of what is derived, which lies behind the view of the base, and behind the base of this length."""
    keep = copies.base >= derived_at(base.total)
    row, done, at, size = result.spread(copies.at[keep], copies.length[keep])
    return Copies(at, copies.base[keep][row] + done - derived_at(base.total) + derived_at(length), size)
