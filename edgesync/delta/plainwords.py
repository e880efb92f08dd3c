"""Segments of form WORDS or MIXED without numpy: slower, and the same bytes. `segment` tells what they are made of."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

from edgesync.delta import a64, kinds, leb128, mixing
from edgesync.delta.format import GAP_LIMIT, MIXED, WORD, SegmentHeader
from edgesync.delta.plain import ReadBase, Rows, check, draft, marks, new_bytes, unmixed
from edgesync.delta.plainpage import Predictor, Run
from edgesync.delta.plaintables import Tables

_WORD = 0xFFFFFFFF
_PLACE_BITS = 18
_PLACES = (1 << _PLACE_BITS) - 1
"""Numbers of words in a segment."""


class Decoder:
    """Decodes the segments of one chapter."""

    def __init__(self, rows: Rows, tables: Tables) -> None:
        self._rows, self._predictor = rows, Predictor(tables)

    def decode(self, head: SegmentHeader, body: bytes, window: range, read_base: ReadBase) -> memoryview:
        """The bytes of the result at the offsets of `window`, proved by their hash.

        Raises DeltaCorruptError that names the field, and whatever `read_base` raises.
        """
        copies = list(self._rows.window(window.start, window.stop))
        if head.form == MIXED:
            return self._unmixed(head, body, window, copies, read_base)
        extra = new_bytes(head, body, len(window) - sum(length for _, _, length in copies))
        words = array("I", bytes(draft(copies, extra, len(window), read_base)))
        _little(words)
        keys = self._predict(words, copies, window.start)
        if head.words:
            _correct(words, keys, head, body)
        _little(words)
        result = memoryview(words).cast("B")[: len(window)]
        check(head, result)
        return result

    def _unmixed(
        self,
        head: SegmentHeader,
        body: bytes,
        window: range,
        copies: list[tuple[int, int, int]],
        read_base: ReadBase,
    ) -> memoryview:
        words = array("I", bytes(draft(copies, b"", len(window), read_base)))
        _little(words)
        keys = self._predict(words, copies, window.start)
        kind = bytes(key >> kinds.KIND_SHIFT for key in keys)
        target = array("I", (key & _WORD if key >> kinds.KIND_SHIFT else 0 for key in keys))
        _little(target)
        _little(words)
        known = mixing.Known(kind, target.tobytes(), bytes(marks(copies, len(window))), words.tobytes())
        return unmixed(head, body, known, len(window))

    def _predict(self, words: array[int], copies: list[tuple[int, int, int]], offset: int) -> array[int]:
        keys = array("q")
        for start in range(0, len(words), kinds.PAGE):
            page = words[start : start + kinds.PAGE]
            keys.extend(self._predictor.predict(page, _runs(copies, start, len(page)), offset + WORD * start))
            words[start : start + kinds.PAGE] = page
        return keys


def _runs(copies: list[tuple[int, int, int]], start: int, count: int) -> Iterator[Run]:
    """The words of a page, `count` from word `start` of a segment on, that one copy takes from the base whole."""
    for at, base, length in copies:
        first, end = max(-(-at // WORD), start), min((at + length) // WORD, start + count)
        if at % WORD == base % WORD and first < end:
            yield first - start, end - start, base - at + WORD * first


def _correct(words: array[int], keys: array[int], head: SegmentHeader, body: bytes) -> None:
    part, count = head.part, head.words
    assert count
    gaps = part.unpack(body, "gaps", count * GAP_LIMIT)
    try:
        changed = leb128.decode(gaps, count, GAP_LIMIT)
    except leb128.VarintError as error:
        raise part.corrupt("gaps", str(error)) from error
    values = part.unpack(body, "values", count * WORD)
    last = sum(changed) + count - 1
    if last >= len(words) or len(values) != count * WORD:
        raise part.corrupt("values", f"found {len(values)} bytes, up to word {last} of {len(words)}")
    added = array("I", values)
    _little(added)
    order = sorted([key << _PLACE_BITS | at for at, key in enumerate(keys)])  # half the memory of a sort by a key
    place = -1
    for gap, value in zip(changed, added, strict=True):
        place += gap + 1
        at = order[place] & _PLACES
        if keys[at] >> kinds.KIND_SHIFT in kinds.STRAIGHT:
            words[at] = a64.bend(a64.straighten(words[at]) + value & _WORD)
        else:
            words[at] = words[at] + value & _WORD


def _little(words: array[int]) -> None:
    """From and to the order of bytes in an image, whatever that of this CPU is."""
    if sys.byteorder == "big":
        words.byteswap()
