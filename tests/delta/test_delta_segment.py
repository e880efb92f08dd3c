"""One segment: any copies and any result come back, and no crafted control reads or writes where it should not."""

import dataclasses

import numpy as np
import pytest
from delta_parts import NO_COPIES
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import format as esd1
from edgesync.delta import segment, varint
from edgesync.delta.segment import Copies
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import DeltaCorruptError
from edgesync.wire.ids import digest_of

BASE = bytes(range(256)) * 2


@st.composite
def copies(draw, output, base_length, count=6):
    """Copies in the order of the output, anywhere in the base, however silly."""
    rows, at = [], 0
    for _ in range(draw(st.integers(0, count))):
        at += draw(st.integers(0, 40))
        length = draw(st.integers(1, 60))
        if at + length > output or length > base_length:
            break
        rows.append((at, draw(st.integers(0, base_length - length)), length))
        at += length
    return Copies(*np.array(rows, np.int64).reshape(-1, 3).T)


@st.composite
def cases(draw):
    base, result = draw(st.binary(max_size=200)), draw(st.binary(min_size=1, max_size=200))
    return base, result, draw(copies(len(result), len(base)))


def reader(base):
    def read(view, offset):
        assert 0 <= offset <= offset + len(view) <= len(base), "reads outside the base"
        view[:] = base[offset : offset + len(view)]

    return read


def decoded(data, base, output, number=0):
    header = esd1.Header(len(base), digest_of(base), number * esd1.SEGMENT + output, digest_of(b""))
    part = esd1.parse_segment_header(number, data[: esd1.SEGMENT_HEADER_SIZE], output)
    return bytes(segment.decode(number, header, part, data[esd1.SEGMENT_HEADER_SIZE :], reader(base)))


def crafted(control=(), gaps=(), values=b"", extra=b"", digest=None, **counts):
    """A segment as an attacker writes it: every checksum is right, what it says is not."""
    counts = {"copies": len(control) // 3, "words": len(gaps)} | counts
    streams = {
        "control": varint.encode(np.array(control, np.int64)),
        "gaps": varint.encode(np.array(gaps, np.int64)),
        "values": values,
        "extra": extra,
    }
    return esd1.encode_segment(digest or bytes(16), counts["copies"], counts["words"], streams)


@given(cases(), st.integers(0, 3))
def test_any_result_comes_back_through_any_copies(case, number):
    base, result, chosen = case
    data = segment.encode(chosen, result, number * esd1.SEGMENT, reader(base))
    assert decoded(data, base, len(result), number) == result


def test_a_segment_may_be_of_new_bytes_only():
    assert decoded(segment.encode(NO_COPIES, b"new", 0, reader(b"")), b"", 3) == b"new"


@given(copies(400, 500, 12), st.integers(0, 400), st.integers(0, 400))
def test_a_window_takes_the_same_bytes_of_the_base_to_the_same_place(chosen, one, other):
    start, end = min(one, other), max(one, other)
    whole = {
        at + i: base + i
        for at, base, length in zip(chosen.at, chosen.base, chosen.length, strict=True)
        for i in range(length)
    }
    cut = chosen.window(start, end)
    seen = {
        start + at + i: base + i
        for at, base, length in zip(cut.at, cut.base, cut.length, strict=True)
        for i in range(length)
    }
    assert seen.items() <= whole.items()
    assert all(start <= place < end for place in seen)
    assert (cut.length >= esd1.COPY_MIN).all()
    for at, length in zip(chosen.at, chosen.length, strict=True):
        inside = range(max(at, start), min(at + length, end))
        assert len(inside) < esd1.COPY_MIN or set(inside) <= set(seen)


@pytest.mark.parametrize(
    "control",
    [
        (20, 0, varint.fold(np.int64(len(BASE) - 19))),  # ends one byte behind the base
        (20, 0, varint.fold(np.int64(-1))),  # begins one byte before it
        (20, 0, (1 << 42) - 1),
        (20, 0, (1 << 42) - 2),
        (65, 0, 0),  # longer than the output
        (20, 45, 0),
        (0, 0, 0),
        (1 << 41, 0, 0),
        (20, 1 << 41, 0),
        (20, 20, 0, 0, 0, 1 << 41),
        (20, 1 << 41, 0, 0, 0, 0),
    ],
)
def test_copies_that_reach_outside_base_or_output_are_refused(control):
    with pytest.raises(DeltaCorruptError, match=r"segment 0, control: copies"):
        decoded(crafted(control, extra=bytes(44)), BASE, 64)


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("control", {"control": (20, 0, 0, 0, 0, 0), "copies": 1}),
        ("control", {"control": (20, 0, 0), "copies": 2}),
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


WIDE = st.integers(0, (1 << 42) - 1) | st.integers(0, 80)


@given(st.lists(WIDE, max_size=9), st.lists(WIDE, max_size=4), st.binary(max_size=20), st.binary(max_size=70))
def test_whatever_an_attacker_writes_nothing_outside_the_base_is_read(control, gaps, values, extra):
    with pytest.raises(DeltaCorruptError):
        decoded(crafted(control, gaps, values, extra, digest=b"no output has it"), BASE, 64)


def test_the_largest_step_of_every_copy_does_not_overflow():
    count = esd1.COPIES_LIMIT
    control = np.concatenate([np.ones(count, np.int64), np.zeros(count, np.int64), np.full(count, (1 << 42) - 1)])
    with pytest.raises(DeltaCorruptError, match="outside the base"):
        decoded(crafted(control), BASE, esd1.SEGMENT)


def test_a_digest_that_the_output_does_not_have_is_refused_and_the_right_one_is_not():
    data = crafted(extra=b"x" * 64, digest=short_hash(b"x" * 64))
    assert decoded(data, BASE, 64) == b"x" * 64


@given(st.integers(0, 8 * 60 - 1))
def test_a_flipped_bit_is_found_by_the_crc_before_anything_is_unpacked(bit):
    header = esd1.Header(0, digest_of(b""), 64, digest_of(b""))
    data = bytearray(crafted(extra=bytes(range(64))))
    data[bit // 8] ^= 1 << bit % 8
    try:
        part = esd1.parse_segment_header(0, bytes(data[: esd1.SEGMENT_HEADER_SIZE]), 64)
    except DeltaCorruptError:
        return
    with pytest.raises(DeltaCorruptError, match="segment 0, crc"):
        part.check(0, bytes(data[esd1.SEGMENT_HEADER_SIZE :]))
    with pytest.raises(DeltaCorruptError, match="crc"):
        segment.decode(0, dataclasses.replace(header), part, bytes(data[esd1.SEGMENT_HEADER_SIZE :]), reader(b""))
