"""One segment: any copies and any result come back, and what was crafted is refused by name."""

import functools
from array import array

import numpy as np
import pytest
from delta_parts import NO_COPIES, NO_TABLES, copies_of
from hypothesis import given
from hypothesis import strategies as st
from plain_parts import Refused, outcome, plain_tables

from edgesync.delta import format as esd3
from edgesync.delta import plain, plainwords, segment, streams, varint
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import DeltaCorruptError

BASE = bytes(range(256)) * 2
START = 3 * esd3.SEGMENT
"""Where the segments of these tests begin: it is the fourth of the result, and the last."""


@st.composite
def cases(draw):
    base, result = draw(st.binary(max_size=200)), draw(st.binary(min_size=1, max_size=200))
    return base, result, behind(START, draw(copies_of(len(result), len(base))))


def behind(start, copies):
    return Copies(copies.at + start, copies.base, copies.length)


def reader(base):
    def read(view, offset):
        assert 0 <= offset <= offset + len(view) <= len(base), "reads outside the base"
        view[:] = base[offset : offset + len(view)]

    return read


def tables(chosen):
    return Chapter(chosen, NO_TABLES)


def encoded(chosen, result, base, **how):
    return segment.encode(tables(chosen), result, START, reader(base), **how)


def decoded(data, base, output, chosen=NO_COPIES):
    """What a board makes of a segment; of nothing, a quiet one."""
    window = range(START, START + output)
    rows = plain.Rows(*(array("q", column.tolist()) for column in (chosen.at, chosen.base, chosen.length)))
    if not data:
        return bytes(plain.copy(rows, 3, window, reader(base)))
    header = esd3.Header(len(base), "0" * 16, START + output, "0" * 32)
    head, size = esd3.parse_segment_header(3, b"\0" + data, header, 0, alone=False)
    body = data[size - 1 :]
    assert len(body) == head.part.body_length
    if head.words is None:
        return bytes(plain.decode(rows, head, body, window, reader(base)))
    with_numpy = functools.partial(segment.decode, tables(chosen))
    without = plainwords.Decoder(rows, plain_tables(NO_TABLES)).decode
    found, other = (outcome(decode, head, body, window, reader(base)) for decode in (with_numpy, without))
    assert found == other, "with numpy and without it"
    if isinstance(found, Refused):
        raise DeltaCorruptError(found)
    return found


def crafted(gaps=(), values=b"", extra=b"", differences=None, *, check=b"no! no", words=None):
    """A segment as an attacker writes it: every length is right, what it says is not."""
    if differences is not None:
        plain_streams, words = {"differences": differences, "extra": extra}, None
    else:
        plain_streams = {"gaps": varint.encode(np.array(gaps, np.int64)), "values": values, "extra": extra}
        words = len(gaps) if words is None else words
    return esd3.encode_segment(words, check, [streams.pack(name, data) for name, data in plain_streams.items()])


@given(cases(), st.booleans())
def test_any_result_comes_back_through_any_copies(case, quick):
    base, result, chosen = case
    assert decoded(encoded(chosen, result, base, quick=quick), base, len(result), chosen) == result


@given(cases())
def test_both_forms_make_the_same_bytes(case):
    base, result, chosen = case
    copies = chosen.window(START, START + len(result))
    fresh = np.ones(len(result), np.bool_)
    for at, _, length in copies.rows():
        fresh[at : at + length] = False
    wanted = np.frombuffer(result, np.uint8)
    extra = wanted[fresh].tobytes()
    data = plain.draft(copies.rows(), extra, len(result), reader(base))
    check = short_hash(result)[: esd3.CHECK]
    for words, found in (
        segment._words(tables(chosen), copies, result, START, data),
        segment._bytes(wanted, data, fresh),
    ):
        packed = [*(streams.pack(name, stream) for name, stream in found.items()), streams.pack("extra", extra)]
        assert decoded(esd3.encode_segment(words, check, packed), base, len(result), chosen) == result


def test_a_segment_may_be_of_new_bytes_only():
    assert decoded(encoded(NO_COPIES, b"new", b""), b"", 3) == b"new"


def test_a_segment_that_is_plain_copies_is_not_in_the_delta():
    whole = behind(START, Copies(np.array([0, 50]), np.array([7, 300]), np.array([50, 14])))
    result = BASE[7:57] + BASE[300:314]
    assert encoded(whole, result, BASE) == b""
    assert decoded(b"", BASE, 64, whole) == result


def test_a_quiet_segment_whose_copies_leave_something_out_is_refused():
    most = behind(START, Copies(np.array([0]), np.array([7]), np.array([63])))
    with pytest.raises(DeltaCorruptError, match="segment 3, copies: leave out 1 bytes"):
        decoded(b"", BASE, 64, most)


@pytest.mark.parametrize("step", [1, 0x01010101])
def test_the_smaller_form_is_chosen(step):
    """Words that change by one are sparse words; bytes that change everywhere by one are a run of one difference."""
    whole = behind(START, Copies(np.array([0]), np.array([0]), np.array([4096])))
    base = np.random.default_rng(3).bytes(4096)
    words = np.frombuffer(base, "<u4").copy()
    words[:: 64 if step == 1 else 1] += np.uint32(step) if step == 1 else 0
    result = words.tobytes() if step == 1 else bytes(byte + 1 & 0xFF for byte in base)
    data = encoded(whole, result, base)
    assert (data[esd3.CHECK] == 0) == (step != 1)
    assert decoded(data, base, 4096, whole) == result


@given(cases())
def test_the_source_of_a_word_is_where_all_its_bytes_come_from(case):
    _, result, chosen = case
    count = len(result) // 4
    chosen = behind(-START, chosen)
    origin = {at + i: place + i for at, place, length in chosen.rows() for i in range(length)}
    for word, source in enumerate(segment.source_of(chosen, count).tolist()):
        places = [origin.get(4 * word + i) for i in range(4)]
        together = None not in places and places == list(range(places[0], places[0] + 4))
        if source >= 0:
            assert places[0] == source
            assert together
        else:
            assert not together or places[0] % 4 or len({p - i for i, p in enumerate(places)}) > 1


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("extra", {"extra": bytes(63)}),
        ("extra", {"extra": bytes(63), "differences": b""}),
        ("values", {"extra": bytes(64), "gaps": (16,), "values": bytes(4)}),
        ("values", {"extra": bytes(64), "gaps": (10, 5), "values": bytes(8)}),
        ("values", {"extra": bytes(64), "gaps": (0, 0), "values": bytes(7)}),
        ("gaps", {"extra": bytes(64), "gaps": (0, 0), "values": bytes(4), "words": 1}),
        ("gaps", {"extra": bytes(64), "gaps": (0, 0), "values": bytes(12), "words": 3}),
        ("gaps", {"extra": bytes(64), "gaps": (1 << 21,), "values": bytes(4)}),
        ("differences", {"extra": bytes(64), "differences": b"x"}),
        ("check", {"extra": bytes(64)}),
        ("check", {"extra": bytes(64), "differences": b""}),
    ],
)
def test_streams_that_do_not_fit_one_another_are_refused_by_name(field, parts):
    with pytest.raises(DeltaCorruptError, match=rf"delta, segment 3, {field}:"):
        decoded(crafted(**parts), BASE, 64)


@given(st.lists(st.integers(0, 1 << 21), max_size=4), st.binary(max_size=20), st.binary(max_size=70), st.booleans())
def test_whatever_an_attacker_writes_is_refused_by_name(gaps, values, extra, as_bytes):
    with pytest.raises(DeltaCorruptError):
        decoded(crafted(gaps, values, extra, values if as_bytes else None), BASE, 64)


def test_a_check_that_the_output_does_not_have_is_refused_and_the_right_one_is_not():
    for differences in (None, b""):
        data = crafted(extra=b"x" * 64, differences=differences, check=short_hash(b"x" * 64)[: esd3.CHECK])
        assert decoded(data, BASE, 64) == b"x" * 64
