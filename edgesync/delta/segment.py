"""One segment of a delta: 1 MiB of output made of copies from the base, new bytes, and corrections.

    draft      copies from the base where the two images align, the extra bytes everywhere else
    predicted  references in the draft follow what they refer to (`references`)
    corrected  word by word, little-endian, modulo 2**32, something is added where the result still differs

That is the form WORDS. In the form BYTES (`plain`), better for other machines' code and for text, nothing is predicted,
and to each copied byte its difference is added; in the form SPARSE, to the few that have one, and gaps say which. In
the form MIXED words are predicted too, and one stream of the context-mixing coder (`mixing`) tells all that is wrong or
new. A segment that is plain copies is quiet: it is not in the delta at all.

Words that refer to the same thing need the same correction or none, and instructions of one kind change together. So
the words are ordered by the kind of reference and by what they refer to, the others by their upper half, which in an
instruction says what it is; the decoder knows all this as well. In this order the corrections travel: gaps between the
words that change, and the values.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgesync.delta import aarch64, kinds, mixing, rewrite, varint
from edgesync.delta.aarch64 import Words
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.delta.format import BYTES, CHECK, GAP_LIMIT, MIXED, SPARSE, WORD, WORDS, SegmentHeader, encode_segment
from edgesync.delta.leb128 import VarintError
from edgesync.delta.order import ascending
from edgesync.delta.plain import ReadBase, check, draft, marks, new_bytes, unmixed
from edgesync.delta.references import Kinds, Mask
from edgesync.delta.streams import guess, pack
from edgesync.delta.varint import Ints
from edgesync.wire.blob import short_hash

_STRAIGHT = np.isin(kinds.KINDS, kinds.STRAIGHT)
_CLEAR, _SMALL = 2, 200
"""A form that is guessed to be twice and 200 bytes larger than another is not tried: guesses are that good."""


def encode(
    chapter: Chapter,
    result: bytes,
    offset: int,
    read_base: ReadBase,
    *,
    quick: bool = False,
    mixing: bool = False,
) -> bytes:
    """The segment that makes `result`, the bytes of the image from `offset` on (at most SEGMENT of them), in the form
    that is smallest; nothing if plain copies make it. If `quick`, it is not of words, and its streams are packed in
    microseconds.
    """
    copies = chapter.copies.window(offset, offset + len(result))
    fresh = np.ones(len(result), np.bool_)
    for at, _, length in copies.rows():
        fresh[at : at + length] = False
    wanted = np.frombuffer(result, np.uint8)
    extra = wanted[fresh].tobytes()
    data = draft(copies.rows(), extra, len(result), read_base)
    if not extra and data[: len(result)] == result:
        return b""
    packed = pack("extra", extra, quick=quick)
    forms = [*_bytes(wanted, data, fresh)]
    if not quick:
        forms.append(_words(chapter, copies, result, offset, data))
    guesses = [sum(guess(stream) for stream in streams.values()) for _, streams in forms]
    coded = [
        encode_segment(
            form,
            short_hash(result)[:CHECK],
            [*(pack(name, data, quick=quick) for name, data in streams.items()), packed],
        )
        for (form, streams), size in zip(forms, guesses, strict=True)
        if size < _CLEAR * min(guesses) + _SMALL
    ]
    smallest = min(coded, key=len)
    mixed = _mixed(chapter, result, offset, read_base, len(smallest)) if mixing else None
    return smallest if mixed is None else min(smallest, mixed, key=len)


def _mixed(chapter: Chapter, result: bytes, offset: int, read_base: ReadBase, most: int) -> bytes | None:
    """The segment in the form MIXED; None if it is longer than `most` bytes."""
    window = range(offset, offset + len(result))
    known = _known(chapter, chapter.copies.window(window.start, window.stop), window, read_base)
    packed = mixing.pack_words(known, result.ljust(len(known.draft), b"\0"), most)
    return None if packed is None else encode_segment(MIXED, short_hash(result)[:CHECK], [packed])


def _known(chapter: Chapter, copies: Copies, window: range, read_base: ReadBase) -> mixing.Known:
    """What is known of the words at these offsets of the result, of which these are the copies."""
    output = len(window)
    words = np.frombuffer(draft(copies.rows(), b"", output, read_base), "<u4")
    kind, keys = _predict(words, copies, window.start, chapter)
    target = np.zeros(len(words), "<u4")
    target[kind != kinds.PLAIN] = keys & 0xFFFFFFFF
    return mixing.Known(kind.tobytes(), target.tobytes(), bytes(marks(copies.rows(), output)), words.tobytes())


def _words(
    chapter: Chapter, copies: Copies, result: bytes, offset: int, data: bytearray
) -> tuple[int, dict[str, bytes]]:
    """The form WORDS of so many words of the draft as are corrected, and the streams that say how."""
    words = np.frombuffer(bytes(data), "<u4").copy()
    target = np.frombuffer(result.ljust(len(data), b"\0"), "<u4")
    kind, keys = _predict(words, copies, offset, chapter)
    order = _order(words, kind, keys)
    changed = np.flatnonzero((target != words)[order])
    where = order[changed]
    values = target[where] - words[where]
    straight = _STRAIGHT[kind[where]]
    bent = where[straight]
    values[straight] = aarch64.straighten(target[bent]) - aarch64.straighten(words[bent])
    gaps = varint.encode(np.diff(changed, prepend=-1) - 1)
    return WORDS + len(changed), {"gaps": gaps, "values": values.tobytes()}


def _bytes(wanted: NDArray[np.uint8], data: bytearray, fresh: Mask) -> Iterator[tuple[int, dict[str, bytes]]]:
    """The differences of all copied bytes up to the last that is not zero; and only those that are not, with the gaps
    between them.
    """
    differences = (wanted - np.frombuffer(data, np.uint8, len(wanted)))[~fresh]
    yield BYTES, {"differences": differences.tobytes().rstrip(b"\0")}
    changed = np.flatnonzero(differences)
    gaps = varint.encode(np.diff(changed, prepend=-1) - 1)
    yield SPARSE, {"gaps": gaps, "changes": differences[changed].tobytes()}


def decode(chapter: Chapter, head: SegmentHeader, body: bytes, window: range, read_base: ReadBase) -> memoryview:
    """The bytes of the result at the offsets of `window`, from a segment of form WORDS or MIXED, proved by their hash.

    Raises DeltaCorruptError that names the field, and whatever `read_base` raises.
    """
    part, count = head.part, head.words
    offset, output = window.start, len(window)
    copies = chapter.copies.window(offset, offset + output)
    if count is None:
        return unmixed(head, body, _known(chapter, copies, window, read_base), output)
    extra = new_bytes(head, body, output - int(copies.length.sum()))
    words = np.frombuffer(draft(copies.rows(), extra, output, read_base), "<u4")
    kind, keys = _predict(words, copies, offset, chapter)
    if count:
        order = _order(words, kind, keys)
        del keys
        gaps = part.unpack(body, "gaps", count * GAP_LIMIT)
        try:
            changed = np.cumsum(varint.decode(gaps, count, GAP_LIMIT) + 1) - 1
        except VarintError as error:
            raise part.corrupt("gaps", str(error)) from error
        values = np.frombuffer(part.unpack(body, "values", count * WORD), np.uint8)
        if changed[-1] >= len(words) or len(values) != count * WORD:
            raise part.corrupt("values", f"found {len(values)} bytes, up to word {changed[-1]} of {len(words)}")
        at = order[changed]
        fixed = words[at] + values.view("<u4")
        bent = np.flatnonzero(_STRAIGHT[kind[at]])
        fixed[bent] = aarch64.bend(aarch64.straighten(words[at[bent]]) + values.view("<u4")[bent])
        words[at] = fixed
    result = words.view(np.uint8).data[:output]
    check(head, result)
    return result


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


def _predict(words: Words, copies: Copies, offset: int, chapter: Chapter) -> tuple[Kinds, Ints]:
    """Rewrite the references in the draft in place, page by page. Returns the kind of each word, and what those are
    ordered by that have one.
    """
    kind, keys = np.empty(len(words), np.uint8), [np.zeros(0, np.int64)]
    for start in range(0, len(words), kinds.PAGE):
        page = words[start : start + kinds.PAGE]
        source = source_of(copies.window(WORD * start, WORD * (start + len(page))), len(page))
        page[:], found = rewrite.predict(page, source, offset + WORD * start, chapter.tables)
        kind[start : start + len(page)] = found.kind
        at = np.flatnonzero(found.kind != kinds.PLAIN)
        keys.append(found.kind[at].astype(np.int64) << kinds.KIND_SHIFT | found.target[at])
    return kind, np.concatenate(keys)


def _order(words: Words, kind: Kinds, keys: Ints) -> NDArray[np.uint32]:
    """Indices of the words in the order in which their corrections travel."""
    plain, others = np.flatnonzero(kind == kinds.PLAIN), np.flatnonzero(kind != kinds.PLAIN)
    return np.concatenate((plain[ascending(words[plain] >> 16)], others[ascending(keys)])).astype(np.uint32)
