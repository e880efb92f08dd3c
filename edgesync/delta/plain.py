"""What a board can apply without numpy: copies, new bytes, and differences of bytes. Segments that are made of these
alone, as in deltas of config, need nothing else; the others begin with the same draft.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, compress

from edgesync.delta import leb128, mixing
from edgesync.delta.format import (
    GAP_LIMIT,
    NUMBER_LIMIT,
    SEGMENT,
    SPARSE,
    WORD,
    ChapterHeader,
    SegmentHeader,
    derived_at,
)
from edgesync.delta.streams import corrupt
from edgesync.wire.blob import short_hash

EDGE = 16
"""Beside the four bits of _WHOLE, one for each byte of a word."""
_WHOLE = 15

ReadBase = Callable[[memoryview, int], None]
"""Fill a buffer with bytes of the base from an offset."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The copies of a chapter in the order of the result: where each is in the result, in the base, and its length, in
    bytes of the whole images.
    """

    at: array[int]
    base: array[int]
    length: array[int]

    def within(self, base_length: int) -> Rows:
        """Without the copies that begin behind the base: those of what is derived."""
        keep = [place < base_length for place in self.base]
        return Rows(*(array("q", compress(column, keep)) for column in (self.at, self.base, self.length)))

    def window(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The copies as seen from `start`, cut to `start`..`end`."""
        first = max(0, bisect_right(self.at, start) - 1)
        for row in range(first, bisect_left(self.at, end)):
            at, base, length = self.at[row], self.base[row], self.length[row]
            cut = max(0, start - at)
            size = min(at + length, end) - at - cut
            if size > 0:
                yield at + cut - start, base + cut, size


def rows(head: ChapterHeader, body: bytes, first: int, lengths: tuple[int, int]) -> Rows:
    """The copies of the chapter whose first segment is number `first`, between images of these lengths.

    Raises DeltaCorruptError.
    """
    part, count = head.part, head.counts.copies
    base_length, result_length = lengths
    start = first * SEGMENT
    end = min(start + head.counts.segments * SEGMENT, result_length)
    if count is None:
        size = min(end, base_length) - start
        return Rows(*(array("q", [number] if size > 0 else []) for number in (start, start, size)))
    try:
        data = part.unpack(body, "copies", count * 3 * NUMBER_LIMIT)
        numbers = leb128.decode(data, 3 * count, NUMBER_LIMIT)
    except leb128.VarintError as error:
        raise part.corrupt("copies", str(error)) from error
    length, before, steps = numbers[:count], numbers[count : 2 * count], numbers[2 * count :]
    ends = array("q", accumulate((a + b for a, b in zip(length, before, strict=True)), initial=start))
    at = array("q", (end - size for end, size in zip(ends[1:], length, strict=True)))
    shifts = accumulate(map(leb128.unfold, steps))
    base = array("q", (place + shift for place, shift in zip(at, shifts, strict=True)))
    if count and (ends[-1] > end or min(length) < 1):
        raise part.corrupt("copies", f"end at byte {ends[-1]} of {end}, or are empty")
    if count and (min(base) < 0 or max(map(int.__add__, base, length)) > base_length):
        behind = derived_at(base_length)
        for place, size in zip(base, length, strict=True):
            inside = place + size <= (behind + head.counts.derived if place >= behind else base_length)
            if place < 0 or not inside:
                raise part.corrupt("copies", f"reach outside the base of {base_length} bytes and what is derived")
    return Rows(at, base, length)


def decode(known: Rows, head: SegmentHeader, body: bytes, window: range, read_base: ReadBase) -> memoryview:
    """The bytes of the result at the offsets of `window`, from a segment of form BYTES or SPARSE, proved by their
    hash.

    Raises DeltaCorruptError that names the field, and whatever `read_base` raises.
    """
    copies = list(known.window(window.start, window.stop))
    copied = sum(length for _, _, length in copies)
    if head.form == SPARSE:
        differences = _spread(head, body, copied)
    else:
        differences = head.part.unpack(body, "differences", copied)
    extra = new_bytes(head, body, len(window) - copied)
    result = memoryview(draft(copies, extra, len(window), read_base, differences))[: len(window)]
    check(head, result)
    return result


def _spread(head: SegmentHeader, body: bytes, copied: int) -> bytes:
    """The difference of each of the `copied` bytes, from those that are not 0 and the gaps between them."""
    part = head.part
    changes = part.unpack(body, "changes", copied)
    try:
        gaps = leb128.decode(part.unpack(body, "gaps", copied), len(changes), GAP_LIMIT)
    except leb128.VarintError as error:
        raise part.corrupt("gaps", str(error)) from error
    if (end := sum(gaps) + len(gaps)) > copied:
        raise part.corrupt("gaps", f"lead to byte {end} of {copied} that are copied")
    differences, place = bytearray(copied), -1
    for gap, change in zip(gaps, changes, strict=True):
        place += gap + 1
        differences[place] = change
    return bytes(differences)


def copy(known: Rows, number: int, window: range, read_base: ReadBase) -> memoryview:
    """The bytes of segment `number`, which is quiet. Raises DeltaCorruptError if its copies leave something out."""
    copies = list(known.window(window.start, window.stop))
    if missing := len(window) - sum(length for _, _, length in copies):
        raise corrupt(f"segment {number}", "copies", f"leave out {missing} bytes, and nothing else makes them")
    return memoryview(draft(copies, b"", len(window), read_base))[: len(window)]


def draft(
    copies: Iterable[tuple[int, int, int]], extra: bytes, output: int, read_base: ReadBase, differences: bytes = b""
) -> bytearray:
    """The bytes of a segment before its words are corrected, with zeros up to a multiple of four, and for what no copy
    makes if there is no `extra`. `differences` are added to the copied bytes in their order, modulo 256; they may end
    early.
    """
    data = bytearray(-(-output // WORD) * WORD)
    view, done, taken, added = memoryview(data), 0, 0, 0
    for at, base, length in copies:
        if extra:
            view[done:at] = extra[taken : taken + at - done]
            taken += at - done
        done = at + length
        read_base(view[at:done], base)
        if added < len(differences):
            some = differences[added : added + length]
            if some.count(0) < len(some):
                view[at : at + len(some)] = _sum(view[at : at + len(some)], some)
            added += length
    if extra:
        view[done:output] = extra[taken:]
    return data


def new_bytes(head: SegmentHeader, body: bytes, missing: int) -> bytes:
    """The stream of bytes that are in no copy. Raises DeltaCorruptError unless there are `missing`."""
    extra = head.part.unpack(body, "extra", missing)
    if len(extra) != missing:
        raise head.part.corrupt("extra", f"found {len(extra)} bytes, expected {missing}")
    return extra


def marks(copies: Iterable[tuple[int, int, int]], output: int) -> bytearray:
    """What the context-mixing coder knows of each word of a segment: a bit for each byte that no copy makes, the lowest
    first, and EDGE if a copy begins in the word or has its end there or in front of it. Padding counts as made.
    """
    found = bytearray([_WHOLE]) * -(-output // WORD)
    if output % WORD:
        found[-1] >>= WORD - output % WORD
    for at, _, length in copies:
        end = at + length
        first, last = -(-at // WORD), end // WORD
        if first > last:
            found[last] &= ~(_WHOLE >> WORD - length << at % WORD)
        else:
            found[first:last] = bytes(last - first)
            if at % WORD:
                found[first - 1] &= ~(_WHOLE << at % WORD)
            if end % WORD:
                found[last] &= ~(_WHOLE >> WORD - end % WORD)
        found[at // WORD] |= EDGE
        if last < len(found):
            found[last] |= EDGE
    return found


def unmixed(head: SegmentHeader, body: bytes, known: mixing.Known, output: int) -> memoryview:
    """The bytes of the result, from a segment of form MIXED of whose words this is known, proved by their hash.
    Raises DeltaCorruptError that names the field.
    """
    if not mixing.available():
        raise mixing.absent(f"delta, {head.part.name}")
    try:
        result = memoryview(mixing.unpack_words(body, known))[:output]
    except ValueError as error:
        raise head.part.corrupt("mixed", f"does not unpack: {error}") from error
    check(head, result)
    return result


def check(head: SegmentHeader, output: memoryview) -> None:
    """Raises DeltaCorruptError unless the output of a segment has its hash."""
    if not short_hash(output).startswith(head.check):
        raise head.part.corrupt("check", "the output has another hash")


def _sum(left: memoryview, right: bytes) -> bytes:
    """Byte by byte, modulo 256: as two numbers, of which no byte carries into the next."""
    size = len(right)
    low, high = (int.from_bytes(byte * size, "little") for byte in (b"\x7f", b"\x80"))
    a, b = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    return ((a & low) + (b & low) ^ (a ^ b) & high).to_bytes(size, "little")
