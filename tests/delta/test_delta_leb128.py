"""Whole numbers as bytes: what is written is read, by the arrays' reader too, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import leb128, varint

NUMBERS = st.integers(0, (1 << 56) - 1)


@given(st.lists(NUMBERS, max_size=20))
def test_numbers_come_back_one_by_one_and_as_arrays(numbers):
    data = leb128.encode(numbers)
    assert leb128.decode(data, len(numbers), 8).tolist() == numbers
    assert varint.decode(data, len(numbers), 8).tolist() == numbers
    assert varint.encode(np.array(numbers, np.int64)) == data
    at, found = 0, []
    while at < len(data):
        number, at = leb128.read(data, at, 8)
        found.append(number)
    assert found == numbers


@given(st.binary(max_size=40), st.integers(0, 8), st.integers(1, 8))
def test_both_readers_refuse_the_same_bytes(data, count, limit):
    try:
        expected = varint.decode(data, count, limit).tolist()
    except leb128.VarintError:
        with pytest.raises(leb128.VarintError):
            leb128.decode(data, count, limit)
    else:
        assert leb128.decode(data, count, limit).tolist() == expected


@given(st.integers(-(1 << 60), 1 << 60))
def test_signed_numbers_come_back(number):
    assert leb128.unfold(leb128.fold(number)) == number
    assert leb128.fold(number) == int(varint.fold(np.int64(number)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff\x80\x00", b"\x80\x80\x80\x01"])
def test_a_number_that_is_cut_off_too_long_or_padded_is_refused(data):
    with pytest.raises(leb128.VarintError, match="shortest form"):
        leb128.read(data, 0, 3)
