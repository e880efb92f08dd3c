"""One segment: any copies and any result come back, and what was crafted is refused by name."""

import numpy as np
import pytest
from delta_parts import NO_COPIES, NO_TABLES, copies_of
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import format as esd2
from edgesync.delta import segment, varint
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import DeltaCorruptError

BASE = bytes(range(256)) * 2


@st.composite
def cases(draw):
    base, result = draw(st.binary(max_size=200)), draw(st.binary(min_size=1, max_size=200))
    return base, result, draw(copies_of(len(result), len(base)))


def reader(base):
    def read(view, offset):
        assert 0 <= offset <= offset + len(view) <= len(base), "reads outside the base"
        view[:] = base[offset : offset + len(view)]

    return read


def tables(chosen):
    return Chapter(chosen, NO_TABLES)


def decoded(data, base, output, chosen=NO_COPIES, number=0):
    head = esd2.parse_segment_header(number, data[: esd2.SEGMENT_HEADER_SIZE], output)
    offset = number * esd2.SEGMENT
    body = data[esd2.SEGMENT_HEADER_SIZE :]
    return bytes(segment.decode(tables(chosen), head, body, range(offset, offset + output), reader(base)))


def crafted(gaps=(), values=b"", extra=b"", digest=None, words=None):
    """A segment as an attacker writes it: every checksum is right, what it says is not."""
    streams = {"gaps": varint.encode(np.array(gaps, np.int64)), "values": values, "extra": extra}
    return esd2.encode_segment(digest or bytes(16), len(gaps) if words is None else words, streams)


@given(cases(), st.integers(0, 3))
def test_any_result_comes_back_through_any_copies(case, number):
    base, result, chosen = case
    chosen = Copies(chosen.at + number * esd2.SEGMENT, chosen.base, chosen.length)
    data = segment.encode(tables(chosen), result, number * esd2.SEGMENT, reader(base))
    assert decoded(data, base, len(result), chosen, number) == result


def test_a_segment_may_be_of_new_bytes_only():
    assert decoded(segment.encode(tables(NO_COPIES), b"new", 0, reader(b"")), b"", 3) == b"new"


@given(cases())
def test_the_source_of_a_word_is_where_all_its_bytes_come_from(case):
    _, result, chosen = case
    count = len(result) // 4
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
        ("extra", {"extra": bytes(65)}),
        ("values", {"extra": bytes(64), "gaps": (16,), "values": bytes(4)}),
        ("values", {"extra": bytes(64), "gaps": (10, 5), "values": bytes(8)}),
        ("values", {"extra": bytes(64), "gaps": (0, 0), "values": bytes(7)}),
        ("gaps", {"extra": bytes(64), "gaps": (0, 0), "values": bytes(4), "words": 1}),
        ("gaps", {"extra": bytes(64), "gaps": (0, 0), "values": bytes(12), "words": 3}),
        ("gaps", {"extra": bytes(64), "gaps": (1 << 21,), "values": bytes(4)}),
        ("digest", {"extra": bytes(64)}),
    ],
)
def test_streams_that_do_not_fit_one_another_are_refused_by_name(field, parts):
    with pytest.raises(DeltaCorruptError, match=rf"delta, segment 0, {field}:"):
        decoded(crafted(**parts), BASE, 64)


@given(st.lists(st.integers(0, 1 << 21), max_size=4), st.binary(max_size=20), st.binary(max_size=70))
def test_whatever_an_attacker_writes_is_refused_by_name(gaps, values, extra):
    with pytest.raises(DeltaCorruptError):
        decoded(crafted(gaps, values, extra, digest=b"no output has it"), BASE, 64)


def test_a_digest_that_the_output_does_not_have_is_refused_and_the_right_one_is_not():
    data = crafted(extra=b"x" * 64, digest=short_hash(b"x" * 64))
    assert decoded(data, BASE, 64) == b"x" * 64


@given(st.integers(0, 8 * 40 - 1))
def test_a_flipped_bit_is_found_by_the_crc_before_anything_is_unpacked(bit):
    data = bytearray(crafted(extra=bytes(range(64))))
    data[bit // 8] ^= 1 << bit % 8
    try:
        head = esd2.parse_segment_header(0, bytes(data[: esd2.SEGMENT_HEADER_SIZE]), 64)
    except DeltaCorruptError:
        return
    with pytest.raises(DeltaCorruptError, match="segment 0, crc"):
        head.part.check(bytes(data[esd2.SEGMENT_HEADER_SIZE :]))
    with pytest.raises(DeltaCorruptError, match="crc"):
        segment.decode(tables(NO_COPIES), head, bytes(data[esd2.SEGMENT_HEADER_SIZE :]), range(64), reader(b""))
