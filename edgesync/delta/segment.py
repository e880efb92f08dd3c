"""One segment of a delta: 1 MiB of output made of copies from the base, new bytes, and corrections of 32-bit words.

    draft      copies from the base where the two images align, the extra bytes everywhere else
    corrected  word by word of the draft, little-endian, modulo 2**32, something is added where the result differs

An AArch64 instruction is one word. Moved code differs in its branches and addresses, many times by the same amount, and
instructions of one kind change together. So the words are ordered by the upper half of their draft value, which the
decoder knows as well, and the corrections travel in this order: gaps between the words that change, and the values.
Against the order of addresses this saves an eighth of the delta between the demo images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgesync.delta import varint
from edgesync.delta.format import (
    COPIES_LIMIT,
    COPY_MIN,
    GAP_LIMIT,
    SEGMENT,
    VARINT_LIMIT,
    WORD,
    Header,
    SegmentHeader,
    corrupt,
    encode_segment,
    unpack_stream,
)
from edgesync.delta.varint import Ints
from edgesync.wire.blob import short_hash

ReadBase = Callable[[memoryview, int], None]
"""Fill a buffer with bytes of the base from an offset."""

_Words = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Copies:
    """Ranges that a segment takes from the base, in the order of the output, not overlapping there.

    int64 arrays, shape (n,), in bytes: `at` counts from the start of the segment, `base` from the start of the base.
    """

    at: Ints
    base: Ints
    length: Ints

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """One after the other: as lists they would take ten times the memory of the arrays."""
        return zip(self.at.data, self.base.data, self.length.data, strict=True)

    def window(self, start: int, end: int) -> Copies:
        """The same copies as seen from `start`, cut to `start`..`end`, without those that are too short to pay."""
        first = np.searchsorted(self.at + self.length, start, side="right")
        last = np.searchsorted(self.at, end)
        at, base, length = self.at[first:last], self.base[first:last], self.length[first:last]
        cut = np.maximum(start - at, 0)
        length = np.minimum(at + length, end) - at - cut
        keep = length >= COPY_MIN
        return Copies((at + cut - start)[keep], (base + cut)[keep], length[keep])


def encode(copies: Copies, result: bytes, offset: int, read_base: ReadBase) -> bytes:
    """The segment that makes `result`, the bytes of the image from `offset` on (at most SEGMENT of them)."""
    assert len(copies.at) <= COPIES_LIMIT
    wanted = np.zeros(_padded(len(result)), np.uint8)
    wanted[: len(result)] = np.frombuffer(result, np.uint8)
    mask = np.ones(len(result), np.bool_)
    for at, _, length in copies.rows():
        mask[at : at + length] = False
    extra = wanted[: len(result)][mask].tobytes()
    words = _draft(copies, extra, len(result), read_base)
    order = _order(words)
    difference = (wanted.view("<u4") - words)[order]
    changed = np.flatnonzero(difference)
    return encode_segment(
        short_hash(result),
        len(copies.at),
        len(changed),
        {
            "control": _encode_control(copies, offset),
            "gaps": varint.encode(np.diff(changed, prepend=-1) - 1),
            "values": difference[changed].tobytes(),
            "extra": extra,
        },
    )


def decode(number: int, header: Header, part: SegmentHeader, body: bytes, read_base: ReadBase) -> memoryview:
    """The bytes that segment `number` makes, proved by its hash.

    Raises DeltaCorruptError that names the field, and whatever `read_base` raises.
    """
    part.check(number, body)
    packed = part.streams(body)
    output = header.output_length(number)
    control = unpack_stream(number, "control", packed["control"], part.copies * 3 * VARINT_LIMIT)
    copies = _decode_control(number, header, part.copies, control)
    missing = output - int(copies.length.sum())
    extra = unpack_stream(number, "extra", packed["extra"], missing)
    if len(extra) != missing:
        raise corrupt(number, "extra", f"found {len(extra)} bytes, expected {missing}")
    words = _draft(copies, extra, output, read_base)
    if part.words:
        gaps = unpack_stream(number, "gaps", packed["gaps"], part.words * GAP_LIMIT)
        positions = np.cumsum(_numbers(number, "gaps", gaps, part.words, GAP_LIMIT) + 1) - 1
        values = unpack_stream(number, "values", packed["values"], part.words * WORD)
        if positions[-1] >= len(words) or len(values) != part.words * WORD:
            raise corrupt(number, "values", f"found {len(values)} bytes, up to word {positions[-1]} of {len(words)}")
        words[_order(words)[positions]] += np.frombuffer(values, "<u4")
    result = words.view(np.uint8).data[:output]
    if short_hash(result) != part.digest:
        raise corrupt(number, "digest", "the output does not have it")
    return result


def _draft(copies: Copies, extra: bytes, output: int, read_base: ReadBase) -> _Words:
    """The words of a segment before the corrections, shape (ceil(output / 4),)."""
    draft = np.zeros(_padded(output), np.uint8)
    view, done, taken = draft.data, 0, 0
    for at, base, length in copies.rows():
        view[done:at] = extra[taken : taken + at - done]
        taken += at - done
        done = at + length
        read_base(view[at:done], base)
    view[done:output] = extra[taken:]
    return cast(_Words, draft.view("<u4"))


def _order(words: _Words) -> Ints:
    """Indices of the words by their upper half (of an instruction: what it is), then by address."""
    return np.argsort((words >> 16).astype(np.uint16), kind="stable")


def _encode_control(copies: Copies, offset: int) -> bytes:
    """Columns: lengths of the copies, extra bytes before each, and how far each begins from where the last ended in
    the base. The first is counted from the segment's own offset, where an image that did not move has it.
    """
    ends = copies.at + copies.length
    inserts = copies.at - np.concatenate(([0], ends[:-1]))
    steps = copies.base - np.concatenate(([offset], (copies.base + copies.length)[:-1]))
    if not len(ends):
        return b""
    return varint.encode(np.concatenate((copies.length, inserts, varint.fold(steps))))


def _decode_control(number: int, header: Header, count: int, control: bytes) -> Copies:
    length, inserts, steps = _numbers(number, "control", control, 3 * count, VARINT_LIMIT).reshape(3, count)
    before = np.cumsum(length) - length
    at = np.cumsum(inserts) + before
    base = number * SEGMENT + np.cumsum(varint.unfold(steps)) + before
    if count and (length.min() < 1 or at[-1] + length[-1] > header.output_length(number)):
        raise corrupt(number, "control", f"copies end at {at[-1] + length[-1]} of {header.output_length(number)} bytes")
    if count and (base.min() < 0 or (base + length).max() > header.base_length):
        raise corrupt(number, "control", f"copies reach outside the base of {header.base_length} bytes")
    return Copies(at, base, length)


def _numbers(number: int, name: str, data: bytes, count: int, limit: int) -> Ints:
    try:
        return varint.decode(data, count, limit)
    except varint.VarintError as error:
        raise corrupt(number, name, str(error)) from error


def _padded(length: int) -> int:
    return -(-length // WORD) * WORD
