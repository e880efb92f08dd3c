"""References without numpy: what `references` and `rewrite` do to a page of words, word by word.

The rules are theirs and are told there; the tests hold both to the same words and the same order.
"""

from __future__ import annotations

import functools
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgesync.delta import a32, a64, kinds
from edgesync.delta.format import WORD
from edgesync.delta.kinds import FILE_SHIFT
from edgesync.delta.plaintables import NEVER, Tables
from edgesync.delta.tables import signed

Run = tuple[int, int, int]
"""Words from one to another of a page that come from the base whole, and the offset of the first of them there."""

_REMEMBERED = 1 << 14
"""Targets whose way is remembered: calls of one function are many."""
_LOW_HALF = 0xFFFFFFFF
_DISTANCE_31 = 0x7FFFFFFF
_IN_FILE = (1 << FILE_SHIFT) - 1


@dataclass(frozen=True, slots=True)
class _Span:
    """Words of a page from `first` to `end` that are in one piece and one region of the base: offset and address of the
    first, and the region's number.
    """

    first: int
    end: int
    source: int
    place: int
    region: int


class _Page:
    """Words, and what is known of each: the kind of its reference, and what that refers to in the base. Of all but
    AArch64 code also its address in the base, its region, and what that holds; and for literals what adds them.
    """

    def __init__(self, words: array[int]) -> None:
        count = len(words)
        self.words = words
        self.kind, self.target = bytearray(count), [0] * count
        self.place, self.region, self.holds = [0] * count, [0] * count, bytearray(count)
        self.adds: dict[int, int] = {}

    def place_data(self, kind: int, spans: Iterable[_Span]) -> None:
        for span in spans:
            count = span.end - span.first
            self.place[span.first : span.end] = range(span.place, span.place + WORD * count, WORD)
            self.region[span.first : span.end] = [span.region] * count
            self.holds[span.first : span.end] = bytes([kind]) * count

    def follows(self, at: int, kind: int, back: int = 1) -> bool:
        """Whether the word belongs to such a region, right behind the one `back` words before."""
        return at < len(self.words) and self.holds[at] == kind and self.place[at] == self.place[at - back] + back * WORD


class Predictor:
    """Rewrites pages by the tables of one chapter."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._ways: dict[tuple[int, bool], int] = {}

    def predict(self, words: array[int], runs: Iterable[Run], offset: int) -> array[int]:
        """Rewrite the references in a page in place; it stands at byte `offset` of the result. Returns the key of each
        word, by which they are ordered.
        """
        spans: dict[int, list[_Span]] = {}
        for run in runs:
            for kind, span in self._spans(*run):
                spans.setdefault(kind, []).append(span)
        if not spans:
            return array("q", [word >> 16 for word in words])
        page = _Page(words)
        for kind, some in spans.items():
            if kind != kinds.CODE:
                page.place_data(kind, some)
        finders: tuple[tuple[int, Callable[[_Page, Sequence[_Span]], None]], ...] = (
            (kinds.CODE, _find_code),
            (kinds.POINTERS, self._find_pointers),
            (kinds.RELATIVE, self._find_distances),
            (kinds.OFFSETS, self._find_offsets),
            (kinds.SYMBOLS, functools.partial(self._find_symbols, kind=kinds.SYMBOLS, size_kind=kinds.SIZE)),
            (kinds.CODE_32, _find_short_code),
            (kinds.POINTERS_32, self._find_short_pointers),
            (kinds.RELATIVE_31, self._find_near),
            (kinds.SYMBOLS_32, functools.partial(self._find_symbols, kind=kinds.SYMBOLS_32, size_kind=kinds.EXTENT)),
        )
        for kind, finder in finders:
            if kind in spans:
                finder(page, spans[kind])
        self._rewrite(page, offset)
        keyed = zip(words, page.kind, page.target, strict=True)
        return array("q", [kind << kinds.KIND_SHIFT | target if kind else word >> 16 for word, kind, target in keyed])

    def _spans(self, first: int, end: int, source: int) -> Iterator[tuple[int, _Span]]:
        base, regions = self._tables.base, self._tables.regions
        while first < end:
            number = bisect_right(regions.start, source)
            place, stop = base.piece_of(source)
            behind = regions.start[number] if number < len(regions.start) else NEVER
            count = min(end - first, -(-(min(stop, behind) - source) // WORD))
            kind = regions.kind[number - 1] if number else kinds.NONE
            if place > 0 and kind != kinds.NONE:
                yield kind, _Span(first, first + count, source, place, number - 1)
            first += count
            source += WORD * count

    # --- finding, as in `references` ------------------------------------------------------------------------------

    def _note(self, page: _Page, at: int, kind: int, target: int) -> bool:
        """Take down a word that points at something in its own file."""
        good = target >> FILE_SHIFT == page.place[at] >> FILE_SHIFT and self._tables.base.offset_of(target) >= 0
        if good:
            page.kind[at], page.target[at] = kind, target
        return good

    def _find_pointers(self, page: _Page, spans: Sequence[_Span]) -> None:
        words = page.words
        for span in spans:
            if span.place % WORD:
                continue  # no address in it is one that 8 divides
            file = span.place >> FILE_SHIFT
            for at in range(span.first + span.place // WORD % 2, span.end, 2):
                if page.follows(at + 1, kinds.POINTERS):
                    value = signed((words[at] | words[at + 1] << 32) - self._tables.bias[file - 1])
                    if kinds.POINTER_MIN <= value <= _IN_FILE:
                        self._note(page, at, kinds.POINTER, value | file << FILE_SHIFT)

    def _find_distances(self, page: _Page, spans: Sequence[_Span]) -> None:
        words, place, target = page.words, page.place, page.target
        far = []
        for span in spans:
            for at in range(span.first, span.end):
                noted = words[at] and self._note(page, at, kinds.DISTANCE, place[at] + _signed_word(words[at]))
                if noted and abs(target[at] - place[at]) > kinds.FAR:
                    far.append((at + 1, target[at]))
        for at, start in far:
            if page.follows(at, kinds.RELATIVE) and 0 < words[at] < kinds.EXTENT_LIMIT:
                page.kind[at], target[at] = kinds.EXTENT, start + words[at] - kinds.INSTRUCTION

    def _find_offsets(self, page: _Page, spans: Sequence[_Span]) -> None:
        for span in spans:
            anchor = self._tables.regions.anchor[span.region]
            for at in range(span.first, span.end):
                self._note(page, at, kinds.OFFSET, anchor + _signed_word(page.words[at]))

    def _find_symbols(self, page: _Page, spans: Sequence[_Span], kind: int, size_kind: int) -> None:
        regions = self._tables.regions
        length, value, size = kinds.ENTRIES[kind]
        sizes, back = [], (size - value) // WORD
        for span in spans:
            file = span.place >> FILE_SHIFT << FILE_SHIFT
            anchor, entry = regions.anchor[span.region], span.source - regions.start[span.region]
            for at in range(span.first, span.end):
                word, field = page.words[at], (entry + WORD * (at - span.first)) % length
                if field == 0 and word:
                    self._note(page, at, kinds.NAME, anchor + word)
                elif field == value and word:
                    self._note(page, at, kinds.POINTER, file + word)
                elif field == size and kinds.INSTRUCTION < word < kinds.EXTENT_LIMIT and at >= back:
                    sizes.append(at)
        for at in sizes:
            if page.kind[at - back] == kinds.POINTER and page.follows(at, kind, back):
                page.kind[at] = size_kind
                page.target[at] = page.target[at - back] + page.words[at] - kinds.INSTRUCTION

    def _find_short_pointers(self, page: _Page, spans: Sequence[_Span]) -> None:
        for span in spans:
            if span.place % WORD == 0:
                file = span.place >> FILE_SHIFT << FILE_SHIFT
                for at in range(span.first, span.end):
                    if page.words[at] >= kinds.POINTER_MIN:
                        self._note(page, at, kinds.POINTER, file + page.words[at])

    def _find_near(self, page: _Page, spans: Sequence[_Span]) -> None:
        for span in spans:
            for at in range(span.first, span.end):
                if kinds.UNWINDS_NOT < page.words[at] <= _DISTANCE_31:
                    distance = (page.words[at] ^ 1 << 30) - (1 << 30)
                    self._note(page, at, kinds.DISTANCE_31, page.place[at] + distance)

    # --- rewriting, as in `rewrite` --------------------------------------------------------------------------------

    def _rewrite(self, page: _Page, offset: int) -> None:
        moved: dict[int, int] = {}
        origin, end = 0, -1  # the address of the result less its offset, up to which offset; -1: no address
        for at, kind in enumerate(page.kind):
            if not kind:
                continue
            here = offset + WORD * at
            if here >= end:
                place, end = self._tables.result.piece_of(here)
                origin = place - here if place else -NEVER
            place = max(0, origin + here)
            if at in page.adds:
                place = self._tables.result.address_of(offset + WORD * page.adds[at] + a32.AHEAD)
            target = self._way(page.target[at], corrected=kind != kinds.NAME)
            if target <= 0 or target >> FILE_SHIFT != place >> FILE_SHIFT:
                page.kind[at] = kinds.PLAIN
                continue
            moved[at] = target
            if kind < kinds.POINTER or kind == kinds.BRANCH:
                page.words[at] = _with_target(page.words[at], kind, place, target)
            else:
                self._write_data(page, at, place, target)
        for at, target in moved.items():
            back = 1 if page.kind[at] == kinds.EXTENT else 2 if page.kind[at] == kinds.SIZE else 0
            length = target - moved.get(at - back, target + 1)
            if back and 0 <= length < kinds.EXTENT_LIMIT:
                page.words[at] = length + kinds.INSTRUCTION

    def _write_data(self, page: _Page, at: int, place: int, target: int) -> None:
        kind, words = page.kind[at], page.words
        if kind == kinds.POINTER:
            value = (target & _IN_FILE) + self._tables.bias[(target >> FILE_SHIFT) - 1]
            words[at] = value & _LOW_HALF
            if page.holds[at] == kinds.POINTERS:
                words[at + 1] = value >> 32 & _LOW_HALF
        elif kind == kinds.DISTANCE:
            words[at] = target - place & _LOW_HALF
        elif kind == kinds.DISTANCE_31:
            words[at] = target - place & _DISTANCE_31
        elif kind in (kinds.OFFSET, kinds.NAME):
            words[at] = target - self._tables.regions.result_anchor[page.region[at]] & _LOW_HALF

    def _way(self, target: int, *, corrected: bool) -> int:
        """`Tables.moved`, remembered."""
        key = target, corrected
        found = self._ways.get(key)
        if found is None:
            if len(self._ways) >= _REMEMBERED:
                self._ways.clear()
            found = self._ways[key] = self._tables.moved(target, corrected=corrected)
        return found


def _find_code(page: _Page, spans: Sequence[_Span]) -> None:
    words, found, targets = page.words, page.kind, page.target
    # Of each register the ADRP that loaded it last: its index, and the page that it means. One of unknown origin (None)
    # hides those before it.
    loaded: list[tuple[int, int | None]] = [(0, None)] * 32
    done = 0
    for span in spans:
        for at in range(max(done, span.first - a64.REACH), span.first):
            if a64.form_of(words[at]) == a64.PAGE:
                loaded[words[at] & 31] = at, None
        done, origin = span.end, span.place - WORD * span.first
        for at in range(span.first, span.end):
            word = words[at]
            form = a64.form_of(word)
            if not form:
                continue
            if form > a64.PAGE:
                feeder, target = loaded[word >> 5 & 31]
                if target is not None and at - feeder <= a64.REACH:
                    found[at], targets[at] = kinds.LOW, target + a64.low(word)
                    if found[feeder] == kinds.PAGE_ALONE:
                        found[feeder], targets[feeder] = kinds.PAGE_USED, targets[at]
            elif form == a64.PAGE:
                target = (origin + WORD * at >> 12) + a64.distance(word, form) << 12
                loaded[word & 31] = at, target
                found[at], targets[at] = kinds.PAGE_ALONE, target
            else:
                found[at], targets[at] = form, origin + WORD * at + a64.distance(word, form)


def _find_short_code(page: _Page, spans: Sequence[_Span]) -> None:
    words, place = page.words, page.place
    # Of each register the LDR that loaded it last: its index, and that of the literal.
    loaded: list[tuple[int, int]] = [(-a32.REACH - 1, 0)] * 16
    for span in spans:
        for at in range(span.first, span.end):
            word = words[at]
            if a32.is_branch(word):
                page.kind[at], page.target[at] = kinds.BRANCH, place[at] + a32.distance(word)
            elif (load := a32.loaded(word)) is not None:
                loaded[load[0]] = at, at + load[1]
            elif (register := a32.added(word)) is not None:
                load_at, literal = loaded[register]
                known = 0 <= literal < len(words) and page.holds[literal] == kinds.CODE_32
                if at - load_at <= a32.REACH and known:
                    page.adds.setdefault(literal, at)
    for literal, at in page.adds.items():
        page.kind[literal] = kinds.DISTANCE
        page.target[literal] = place[at] + a32.AHEAD + _signed_word(words[literal])


def _with_target(word: int, kind: int, place: int, target: int) -> int:
    """An instruction that stands at `place`, referring to `target`."""
    if kind == kinds.BRANCH:
        return a32.with_distance(word, target - place)
    if kind == kinds.LOW:
        return a64.with_low(word, target)
    if kind in a64.RELATIVE:
        return a64.with_distance(word, kind, target - place)
    return a64.with_distance(word, a64.PAGE, (target >> 12) - (place >> 12))


def _signed_word(word: int) -> int:
    return (word ^ 1 << 31) - (1 << 31)
