"""One segment of a delta: 1 MiB of output made of copies from the base, new bytes, and corrections of 32-bit words.

    draft      copies from the base where the two images align, the extra bytes everywhere else
    predicted  references in the draft follow what they refer to (`references`)
    corrected  word by word, little-endian, modulo 2**32, something is added where the result still differs

Words that refer to the same thing need the same correction or none, and instructions of one kind change together. So
the words are ordered by the kind of reference and by what they refer to, the others by their upper half, which in an
instruction says what it is; the decoder knows all this as well. In this order the corrections travel: gaps between the
words that change, and the values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgesync.delta import aarch64, references, rewrite, varint
from edgesync.delta.aarch64 import Words
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.delta.format import (
    GAP_LIMIT,
    WORD,
    SegmentHeader,
    encode_segment,
)
from edgesync.delta.varint import Ints
from edgesync.wire.blob import short_hash

ReadBase = Callable[[memoryview, int], None]
"""Fill a buffer with bytes of the base from an offset."""

_KIND_SHIFT = 58
_STRAIGHT = (aarch64.ADR, references.PAGE_USED, references.PAGE_ALONE)


def encode(chapter: Chapter, result: bytes, offset: int, read_base: ReadBase) -> bytes:
    """The segment that makes `result`, the bytes of the image from `offset` on (at most SEGMENT of them)."""
    copies = chapter.copies.window(offset, offset + len(result))
    wanted = np.zeros(_padded(len(result)), np.uint8)
    wanted[: len(result)] = np.frombuffer(result, np.uint8)
    fresh = np.ones(len(result), np.bool_)
    for at, _, length in copies.rows():
        fresh[at : at + length] = False
    extra = wanted[: len(result)][fresh].tobytes()
    words = draft(copies, extra, len(result), read_base)
    keys = _predict(words, copies, offset, chapter)
    order = np.argsort(keys, kind="stable")
    target = wanted.view("<u4")
    changed = np.flatnonzero((target != words)[order])
    where = order[changed]
    values = target[where] - words[where]
    straight = _straight(keys)[where]
    bent = where[straight]
    values[straight] = aarch64.straighten(target[bent]) - aarch64.straighten(words[bent])
    return encode_segment(
        short_hash(result),
        len(changed),
        {"gaps": varint.encode(np.diff(changed, prepend=-1) - 1), "values": values.tobytes(), "extra": extra},
    )


def decode(chapter: Chapter, head: SegmentHeader, body: bytes, window: range, read_base: ReadBase) -> memoryview:
    """The bytes of the result at the offsets of `window`, proved by their hash.

    Raises DeltaCorruptError that names the field, and whatever `read_base` raises.
    """
    part = head.part
    part.check(body)
    offset, output = window.start, len(window)
    copies = chapter.copies.window(offset, offset + output)
    missing = output - int(copies.length.sum())
    extra = part.unpack(body, "extra", missing)
    if len(extra) != missing:
        raise part.corrupt("extra", f"found {len(extra)} bytes, expected {missing}")
    words = draft(copies, extra, output, read_base)
    keys = _predict(words, copies, offset, chapter)
    if head.words:
        order, straight = np.argsort(keys, kind="stable").astype(np.uint32), _straight(keys)
        del keys
        gaps = part.unpack(body, "gaps", head.words * GAP_LIMIT)
        try:
            changed = np.cumsum(varint.decode(gaps, head.words, GAP_LIMIT) + 1) - 1
        except varint.VarintError as error:
            raise part.corrupt("gaps", str(error)) from error
        values = np.frombuffer(part.unpack(body, "values", head.words * WORD), np.uint8)
        if changed[-1] >= len(words) or len(values) != head.words * WORD:
            raise part.corrupt("values", f"found {len(values)} bytes, up to word {changed[-1]} of {len(words)}")
        at = order[changed]
        fixed = words[at] + values.view("<u4")
        bent = np.flatnonzero(straight[at])
        fixed[bent] = aarch64.bend(aarch64.straighten(words[at[bent]]) + values.view("<u4")[bent])
        words[at] = fixed
    result = words.view(np.uint8).data[:output]
    if short_hash(result) != head.digest:
        raise part.corrupt("digest", "the output does not have it")
    return result


def draft(copies: Copies, extra: bytes, output: int, read_base: ReadBase) -> Words:
    """The words of a segment before anything else is done, shape (ceil(output / 4),)."""
    data = np.zeros(_padded(output), np.uint8)
    view, done, taken = data.data, 0, 0
    for at, base, length in copies.rows():
        view[done:at] = extra[taken : taken + at - done]
        taken += at - done
        done = at + length
        read_base(view[at:done], base)
    view[done:output] = extra[taken:]
    return data.view("<u4")


def source_of(copies: Copies, count: int) -> Ints:
    """Where in the base each of `count` words is from: its offset, or -1 if it is not one whole word there."""
    whole = copies.at % WORD == copies.base % WORD
    first = -(-copies.at // WORD)
    length = np.where(whole, np.maximum((copies.at + copies.length) // WORD - first, 0), 0)
    before = np.cumsum(length) - length
    word = np.repeat(first - before, length) + np.arange(int(length.sum()))
    source = np.full(count, -1, np.int64)
    source[word] = WORD * word + np.repeat(copies.base - copies.at, length)
    return source


def _predict(words: Words, copies: Copies, offset: int, chapter: Chapter) -> Ints:
    """Rewrite the references in the draft in place, page by page. Returns what the words are ordered by."""
    keys = np.empty(len(words), np.int64)
    for start in range(0, len(words), references.PAGE):
        page = words[start : start + references.PAGE]
        source = source_of(copies.window(WORD * start, WORD * (start + len(page))), len(page))
        page[:], found = rewrite.predict(page, source, offset + WORD * start, chapter.tables)
        keys[start : start + len(page)] = np.where(
            found.kind == references.PLAIN, page >> 16, found.kind.astype(np.int64) << _KIND_SHIFT | found.target
        )
    return keys


def _straight(keys: Ints) -> references.Mask:
    """Which words are corrected with the bits of their distance side by side."""
    return np.isin((keys >> _KIND_SHIFT).astype(np.uint8), _STRAIGHT)


def _padded(length: int) -> int:
    return -(-length // WORD) * WORD
