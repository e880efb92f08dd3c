"""One segment: any copies and any result come back, and what was crafted is refused by name."""

import functools
from array import array

import numpy as np
import pytest
from delta_parts import NO_COPIES, NO_TABLES, copies_of
from hypothesis import given
from hypothesis import strategies as st
from plain_parts import Refused, outcome, plain_tables

from edgesync.delta import format as esd4
from edgesync.delta import plain, plainwords, segment, streams, varint
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import DeltaCorruptError

BASE = bytes(range(256)) * 2
START = 3 * esd4.SEGMENT
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
    header = esd4.Header(len(base), "0" * 16, START + output, "0" * 32)
    head, size = esd4.parse_segment_header(3, b"\0" + data, header, 0, alone=False)
    body = data[size - 1 :]
    assert len(body) == head.part.body_length
    if head.form in (esd4.BYTES, esd4.SPARSE):
        return bytes(plain.decode(rows, head, body, window, reader(base)))
    with_numpy = functools.partial(segment.decode, tables(chosen))
    without = plainwords.Decoder(rows, plain_tables(NO_TABLES)).decode
    found, other = (outcome(decode, head, body, window, reader(base)) for decode in (with_numpy, without))
    assert found == other, "with numpy and without it"
    if isinstance(found, Refused):
        raise DeltaCorruptError(found)
    return found


def crafted(gaps=(), values=b"", extra=b"", differences=None, *, changes=None, check=b"no! no", words=None):
    """A segment as an attacker writes it: every length is right, what it says is not."""
    gap = varint.encode(np.array(gaps, np.int64))
    if differences is not None:
        plain_streams, form = {"differences": differences, "extra": extra}, esd4.BYTES
    elif changes is not None:
        plain_streams, form = {"gaps": gap, "changes": changes, "extra": extra}, esd4.SPARSE
    else:
        plain_streams = {"gaps": gap, "values": values, "extra": extra}
        form = esd4.WORDS + (len(gaps) if words is None else words)
    return esd4.encode_segment(form, check, [streams.pack(name, data) for name, data in plain_streams.items()])


@given(cases(), st.booleans())
def test_any_result_comes_back_through_any_copies(case, quick):
    base, result, chosen = case
    assert decoded(encoded(chosen, result, base, quick=quick), base, len(result), chosen) == result


@given(cases())
def test_all_forms_make_the_same_bytes(case):
    base, result, chosen = case
    copies = chosen.window(START, START + len(result))
    fresh = np.ones(len(result), np.bool_)
    for at, _, length in copies.rows():
        fresh[at : at + length] = False
    wanted = np.frombuffer(result, np.uint8)
    extra = wanted[fresh].tobytes()
    data = plain.draft(copies.rows(), extra, len(result), reader(base))
    check = short_hash(result)[: esd4.CHECK]
    words, bytewise = segment._words(tables(chosen), copies, result, START, data), segment._bytes(wanted, data, fresh)
    for form, found in (words, *bytewise):
        packed = [*(streams.pack(name, stream) for name, stream in found.items()), streams.pack("extra", extra)]
        assert decoded(esd4.encode_segment(form, check, packed), base, len(result), chosen) == result


@pytest.mark.mixing
@given(cases())
def test_any_result_comes_back_in_the_form_mixed_and_the_smallest_form_is_taken(case):
    base, result, chosen = case
    mixed = segment._mixed(tables(chosen), result, START, reader(base), 9999)
    assert decoded(mixed, base, len(result), chosen) == result
    best = encoded(chosen, result, base, mixing=True)
    assert len(best) <= min(len(mixed), len(encoded(chosen, result, base)))
    assert decoded(best, base, len(result), chosen) == result


@pytest.mark.mixing
@given(cases(), st.binary(max_size=99))
def test_any_bytes_as_a_mixed_stream_are_refused_by_name(case, stream):
    base, result, chosen = case
    data = esd4.encode_segment(esd4.MIXED, short_hash(result)[: esd4.CHECK], [stream])
    with pytest.raises(DeltaCorruptError, match=r"segment 3, (mixed: does not unpack|check: the output)"):
        decoded(data, base, len(result), chosen)


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


@pytest.mark.parametrize("form", [esd4.BYTES, esd4.SPARSE, esd4.WORDS])
def test_the_smallest_form_is_chosen(form):
    """Bytes that change everywhere by one are a run of one difference; a few, here and there, are sparse; numbers of
    one upper half that grow, carries and all, are words.
    """
    whole = behind(START, Copies(np.array([0]), np.array([0]), np.array([4096])))
    chance = np.random.default_rng(3)
    words = chance.integers(0, 1 << 32, 1024, np.uint32) & np.uint32(0x0F00FFFF)
    old, changed = words.tobytes(), words.view(np.uint8).copy()
    if form == esd4.BYTES:
        changed += 1
    elif form == esd4.SPARSE:
        changed[chance.integers(0, 4096, 60)] += np.uint8(77)
    else:
        changed.view(np.uint32)[words >> 24 == 7] += np.uint32(0x00808081)
    data = encoded(whole, changed.tobytes(), old)
    found = data[esd4.CHECK]
    assert found == form if form < esd4.WORDS else found > form
    assert decoded(data, old, 4096, whole) == changed.tobytes()


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
        ("extra", {"extra": bytes(63), "changes": b""}),
        ("changes", {"extra": bytes(64), "changes": b"x"}),
        ("gaps", {"extra": bytes(64), "gaps": (1,), "changes": b""}),
        ("check", {"extra": bytes(64)}),
        ("check", {"extra": bytes(64), "differences": b""}),
        ("check", {"extra": bytes(64), "changes": b""}),
    ],
)
def test_streams_that_do_not_fit_one_another_are_refused_by_name(field, parts):
    with pytest.raises(DeltaCorruptError, match=rf"delta, segment 3, {field}:"):
        decoded(crafted(**parts), BASE, 64)


@pytest.mark.parametrize(
    ("gaps", "changes"), [((10, 5), b"xx"), ((0, 0), b"x"), ((0, 0), b"xxx"), ((16,), b"x"), ((1 << 21,), b"x")]
)
def test_sparse_changes_behind_the_copies_or_without_a_gap_are_refused(gaps, changes):
    whole = behind(START, Copies(np.array([0]), np.array([0]), np.array([16])))
    with pytest.raises(DeltaCorruptError, match=r"delta, segment 3, gaps:"):
        decoded(crafted(gaps, extra=bytes(48), changes=changes), BASE, 64, whole)


@given(
    st.lists(st.integers(0, 1 << 21), max_size=4),
    st.binary(max_size=20),
    st.binary(max_size=70),
    st.sampled_from(["values", "differences", "changes"]),
)
def test_whatever_an_attacker_writes_is_refused_by_name(gaps, values, extra, stream):
    with pytest.raises(DeltaCorruptError):
        decoded(crafted(gaps, extra=extra, **{stream: values}), BASE, 64)


def test_a_check_that_the_output_does_not_have_is_refused_and_the_right_one_is_not():
    for differences in (None, b""):
        data = crafted(extra=b"x" * 64, differences=differences, check=short_hash(b"x" * 64)[: esd4.CHECK])
        assert decoded(data, BASE, 64) == b"x" * 64
