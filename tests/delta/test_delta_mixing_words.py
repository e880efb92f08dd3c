"""Words of a segment under the context-mixing coder: any result comes back, and any other bytes are refused."""

from __future__ import annotations

import hashlib
import random
import struct
from importlib import import_module
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import kinds, mixing, plain
from edgesync.delta.mixing import Known

pytestmark = pytest.mark.mixing
WORDS_MOST = 1 << 18
REFUSED = "cut off, damaged, or has bytes behind its end"
ODD = struct.pack("<9I", 0, 1, 0xFFFFFFFF, 0x94000001, 0x90000003, 0xD503201F, 0x10000100, 1 << 31, 0x7FFFFFFF)
"""Words that many tests have again and again: instructions, and those at which sums wrap around."""
WORD = st.sampled_from([ODD[at : at + 4] for at in range(0, len(ODD), 4)]) | st.binary(min_size=4, max_size=4)
MARK = st.sampled_from((0, 0, 0, 15, plain.EDGE, 31)) | st.integers(0, 255)


@pytest.fixture(scope="module")
def core():
    return import_module("edgesync.delta._mixing")


@st.composite
def cases(draw):
    """What is known of some words, however silly, and what they become."""
    count = draw(st.integers(0, 25))
    kind = draw(st.sampled_from((st.just(0), st.sampled_from(kinds.KINDS), st.integers(0, 255))))
    mark = draw(st.sampled_from((MARK, st.just(15), st.just(0))))
    rows = draw(st.lists(st.tuples(kind, WORD, mark, WORD, WORD, st.booleans()), min_size=count, max_size=count))
    known = Known(
        bytes(row[0] for row in rows),
        b"".join(row[1] for row in rows),
        bytes(row[2] for row in rows),
        b"".join(row[3] for row in rows),
    )
    return known, b"".join(row[3] if row[5] else row[4] for row in rows)


def likely(count, seed=1):
    """Words as programs have them: some again and again, references of each kind that are off by what others are off
    too, new ones in a row, and edges.
    """
    chance = random.Random(seed)
    common = [chance.getrandbits(32) for _ in range(60)]
    common += [0x94000000 | chance.getrandbits(26) for _ in range(9)]  # calls
    common += [0x90000000 | chance.getrandbits(31) & 0x60FFFFFF for _ in range(9)]  # ADRP
    places = [4096 + 64 * chance.randrange(300) for _ in range(40)]
    kind, target, marks, draft, result = bytearray(), [], bytearray(), [], []
    fresh = 0
    for _ in range(count):
        fresh = max(0, fresh - 1) or (chance.random() < 0.02) * chance.randrange(1, 12)
        word = chance.choice(common) if chance.random() < 0.8 else chance.getrandbits(32)
        form = 0 if fresh or chance.random() < 0.6 else chance.choice(kinds.KINDS[1:])
        place = chance.choice(places) if form else 0
        mark = 15 if fresh else chance.randrange(1, 15) if chance.random() < 0.02 else 0
        known = sum((mark >> number & 1 ^ 1) * 0xFF << 8 * number for number in range(4))
        off = chance.choice((0, 0, 0, 4, place >> 9, chance.getrandbits(32)))
        kind.append(form)
        target.append(place)
        marks.append(mark | (chance.random() < 0.1) * plain.EDGE)
        draft.append(word & known)
        result.append(word if mark else word + off & 0xFFFFFFFF)
    return Known(bytes(kind), _packed(target), bytes(marks), _packed(draft)), _packed(result)


def _packed(words):
    return struct.pack(f"<{len(words)}I", *words)


def packed(known, result):
    stream = mixing.pack_words(known, result, 2 * len(result) + 64)
    assert stream is not None
    return stream


def said(stream, known):
    """What a stream unpacks to; nothing if it is refused."""
    try:
        return mixing.unpack_words(stream, known)
    except ValueError as error:
        return None if REFUSED in str(error) else pytest.fail(f"refused for {error}")


@given(cases())
def test_any_words_come_back_from_any_draft(case):
    known, result = case
    assert mixing.unpack_words(packed(known, result), known) == result


@pytest.mark.parametrize("kind", [*kinds.KINDS, 255])
@pytest.mark.parametrize("mark", [0, 15, 16, 5])
def test_noise_comes_back_whatever_is_known_of_it(kind, mark):
    chance = random.Random(kind << 8 | mark)
    target, draft, result = (chance.randbytes(4 * 3000) for _ in range(3))
    known = Known(bytes([kind]) * 3000, target, bytes([mark]) * 3000, draft)
    stream = packed(known, result)
    assert mixing.unpack_words(stream, known) == result
    assert len(stream) < 1.2 * len(result)


def test_what_was_right_takes_next_to_nothing_and_likely_words_less_than_they_are():
    known, result = likely(20_000)
    assert len(packed(known, result)) < 0.7 * len(result)
    right = Known(known.kind, known.target, bytes(20_000), result)
    assert len(packed(right, result)) < 32


@given(cases(), st.binary(max_size=120))
def test_any_bytes_are_refused_or_unpack_to_words_which_then_come_back(case, stream):
    known, _ = case
    result = said(stream, known)
    assert result is None or mixing.unpack_words(packed(known, result), known) == result


def test_no_damage_of_a_stream_gives_its_words():
    known, result = likely(400)
    stream = packed(known, result)
    flipped = [stream[:at] + bytes([stream[at] ^ 1 << at % 8]) + stream[at + 1 :] for at in range(len(stream))]
    cut = [stream[:end] for end in range(0, len(stream), 7)]
    found = [said(damaged, known) for damaged in (*flipped, *cut, stream + b"\0", stream + b"\1", stream + stream)]
    assert result not in found
    assert found.count(None) > 0.9 * len(found)


@given(cases())
def test_what_does_not_fit_is_none_and_what_just_fits_is_not(case):
    known, result = case
    stream = packed(known, result)
    assert mixing.pack_words(known, result, len(stream)) == stream
    assert mixing.pack_words(known, result, len(stream) - 1) is None


@given(cases(), st.data())
def test_bits_that_mean_nothing_change_nothing(case, data):
    known, result = case
    kind, marks = (
        bytes(data.draw(st.integers(0, 7)) << 5 ^ byte for byte in some) for some in (known.kind, known.marks)
    )
    other = known._replace(kind=bytes(a & ~15 ^ b & 15 for a, b in zip(kind, known.kind, strict=True)), marks=marks)
    assert packed(other, result) == packed(known, result)


@pytest.mark.parametrize("field", Known._fields)
@pytest.mark.parametrize("by", [-5, -4, -1, 1, 4, 5])
def test_arrays_of_other_lengths_are_refused(core, field, by):
    known, result = likely(20)
    data = getattr(known, field)
    wrong = known._replace(**{field: data[:by] if by < 0 else data + bytes(by)})
    for call in (lambda: core.encode_words(*wrong, result, 999), lambda: core.decode_words(b"\0", *wrong)):
        with pytest.raises(ValueError, match=r"there is no segment of \d+ words"):
            call()


@pytest.mark.parametrize("by", [-80, -4, -1, 1, 4, 4096])
def test_results_of_other_lengths_are_refused(core, by):
    known, result = likely(20)
    with pytest.raises(ValueError, match=f"a result of {len(result) + by} bytes"):
        core.encode_words(*known, result[:by] if by < 0 else result + bytes(by), 999)


def test_a_segment_has_at_most_a_megabyte(core):
    def zeros(count):
        return Known(bytes(count), bytes(4 * count), bytes(count), bytes(4 * count))

    stream = packed(zeros(WORDS_MOST), bytes(4 * WORDS_MOST))
    assert mixing.unpack_words(stream, zeros(WORDS_MOST)) == bytes(4 * WORDS_MOST)
    more = zeros(WORDS_MOST + 1)
    for call in (lambda: core.encode_words(*more, more.draft, 999), lambda: core.decode_words(stream, *more)):
        with pytest.raises(ValueError, match=f"there is no segment of {WORDS_MOST + 1} words"):
            call()


def test_each_machine_makes_the_same_stream():
    """A change of the model is a change of the format: boards in the field would refuse the deltas."""
    stream = packed(*likely(5000))
    assert hashlib.sha256(stream).hexdigest()[:16] == "cdacdb1d04b992c3"


def test_room_below_nothing_and_things_that_are_no_bytes_are_refused(core):
    known, result = likely(5)
    with pytest.raises(ValueError, match="-1 bytes"):
        core.encode_words(*known, result, -1)
    for wrong in ("text", 7, None, bytearray(5)):
        with pytest.raises(TypeError):
            core.decode_words(b"", wrong, *known[1:])


@given(st.data())
def test_marks_say_which_bytes_no_copy_makes_and_where_copies_begin_and_end(data):
    output = data.draw(st.integers(1, 60))
    cuts = sorted(data.draw(st.sets(st.integers(0, output), max_size=12)))
    rows = [(at, 0, end - at) for at, end in pairwise(cuts) if data.draw(st.booleans())]
    made = {place for at, _, length in rows for place in range(at, at + length)}
    edges = {place // 4 for at, _, length in rows for place in (at, at + length)}
    expected = [
        sum(1 << byte for byte in range(4) if word + byte < output and word + byte not in made)
        + plain.EDGE * (word // 4 in edges)
        for word in range(0, output, 4)
    ]
    assert list(plain.marks(rows, output)) == expected
