"""Rewriting references for another place: as they will be in the result, or as what they mean, for alignment.

Encoder and decoder call `predict` on the same numbers. All is whole-number arithmetic on words, wrapping around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesync.delta import a64, aarch32, aarch64, kinds, references
from edgesync.delta.aarch64 import Words
from edgesync.delta.addresses import Tables
from edgesync.delta.kinds import FILE_SHIFT, POINTERS
from edgesync.delta.references import Mask, References
from edgesync.delta.varint import Ints


@dataclass(frozen=True, slots=True)
class _Moved:
    """References of a page that can be rewritten, in their order, shape (n,): index of the word, kind, and the
    addresses in the result from where it is counted and of what it refers to.
    """

    at: Ints
    kind: references.Kinds
    place: Ints
    target: Ints


def predict(words: Words, source: Ints, offset: int, tables: Tables) -> tuple[Words, References]:
    """The page as it should be in the result from byte `offset` on, and the references that were rewritten."""
    found = references.find(words, source, tables)
    at = np.flatnonzero(found.kind != kinds.PLAIN)
    place, target = tables.result.address_of(offset + found.origin[at]), _targets(found, at, tables)
    good = (target > 0) & (place >> FILE_SHIFT == target >> FILE_SHIFT)
    return _write(words, source, _keep(found, at, good, place, target), tables), found


def absolute(words: Words, source: Ints, tables: Tables) -> Words:
    """The page with each reference as the address in the result, wherever it stands: for alignment only. Words of base
    and result that refer to the same thing are equal then.
    """
    found = references.find(words, source, tables)
    at = np.flatnonzero(found.kind != kinds.PLAIN)
    target = _targets(found, at, tables)
    return _write(words, source, _keep(found, at, target > 0, np.zeros_like(at), target), tables)


def _targets(found: References, at: Ints, tables: Tables) -> Ints:
    """Where the targets are in the result; 0 for those that are not known. Names are not corrected: their table is
    not what code refers to.
    """
    targets = tables.moved(found.target[at])
    names = found.kind[at] == kinds.NAME
    if names.any():
        targets[names] = tables.moved(found.target[at[names]], corrected=False)
    return targets


def _keep(found: References, at: Ints, good: Mask, place: Ints, target: Ints) -> _Moved:
    """Only the good ones, here and in `found`."""
    found.kind[at[~good]] = kinds.PLAIN
    return _Moved(at[good], found.kind[at[good]], place[good], target[good])


def _write(words: Words, source: Ints, moved: _Moved, tables: Tables) -> Words:
    words, at, kind, place, target = words.copy(), moved.at, moved.kind, moved.place, moved.target
    for form in a64.RELATIVE:
        chosen = np.flatnonzero(kind == form)
        words[at[chosen]] = aarch64.with_distance(words[at[chosen]], form, target[chosen] - place[chosen])
    chosen = np.flatnonzero((kind == kinds.PAGE_USED) | (kind == kinds.PAGE_ALONE))
    pages = (target[chosen] >> 12) - (place[chosen] >> 12)
    words[at[chosen]] = aarch64.with_distance(words[at[chosen]], a64.PAGE, pages)
    chosen = np.flatnonzero(kind == kinds.LOW)
    words[at[chosen]] = aarch64.with_low(words[at[chosen]], target[chosen])
    chosen = np.flatnonzero(kind == kinds.BRANCH)
    words[at[chosen]] = aarch32.with_distance(words[at[chosen]], target[chosen] - place[chosen])
    if (kind >= kinds.POINTER).any():
        _write_data(words, source, moved, tables)
    return words


def _write_data(words: Words, source: Ints, moved: _Moved, tables: Tables) -> None:
    at, kind, target = moved.at, moved.kind, moved.target
    region = tables.regions.of(source[at])
    chosen = kind == kinds.POINTER
    value = (target[chosen] & ((1 << FILE_SHIFT) - 1)) + tables.bias[(target[chosen] >> FILE_SHIFT) - 1]
    words[at[chosen]] = _low_half(value)
    whole = tables.regions.kind[region[chosen]] == POINTERS
    words[at[chosen][whole] + 1] = _low_half(value[whole] >> 32)
    chosen = kind == kinds.DISTANCE
    words[at[chosen]] = _low_half(target[chosen] - moved.place[chosen])
    chosen = kind == kinds.DISTANCE_31
    words[at[chosen]] = _low_half(target[chosen] - moved.place[chosen]) & 0x7FFFFFFF
    chosen = (kind == kinds.OFFSET) | (kind == kinds.NAME)
    words[at[chosen]] = _low_half(target[chosen] - tables.regions.result_anchor[region[chosen]])
    for length, back in ((kinds.EXTENT, 1), (kinds.SIZE, 2)):
        _write_lengths(words, moved, kind == length, back)


def _write_lengths(words: Words, moved: _Moved, chosen: Mask, back: int) -> None:
    """Lengths of what the reference `back` words before points at, where that was rewritten as well."""
    last = np.flatnonzero(chosen)
    first = np.searchsorted(moved.at, moved.at[last] - back)
    length = moved.target[last] - moved.target[first]
    good = (moved.at[first] == moved.at[last] - back) & (length >= 0) & (length < kinds.EXTENT_LIMIT)
    words[moved.at[last[good]]] = _low_half(length[good] + kinds.INSTRUCTION)


def _low_half(values: Ints) -> Words:
    return (values & 0xFFFFFFFF).astype(np.uint32)
