"""Numbers in a stream: any array comes back, and any bytes are the expected numbers or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import varint

NUMBERS = st.lists(st.integers(0, (1 << 42) - 1)).map(lambda numbers: np.array(numbers, np.int64))


@given(NUMBERS)
def test_any_numbers_come_back(numbers):
    assert varint.decode(varint.encode(numbers), len(numbers), 6).tolist() == numbers.tolist()


@given(st.lists(st.integers(-(1 << 40), 1 << 40)))
def test_any_signed_numbers_come_back(numbers):
    folded = varint.fold(np.array(numbers, np.int64))
    assert (folded >= 0).all()
    assert varint.unfold(folded).tolist() == numbers


@given(st.binary(max_size=60), st.integers(0, 20), st.integers(1, 6))
def test_any_bytes_are_the_expected_numbers_or_refused(data, count, limit):
    try:
        numbers = varint.decode(data, count, limit)
    except varint.VarintError:
        return
    assert len(numbers) == count
    assert ((numbers >= 0) & (numbers < 1 << 7 * limit)).all()


@pytest.mark.parametrize("data", [b"\x80", b"\x01\x80", b"", b"\x01\x01", b"\xff\xff\xff\x01"])
def test_bytes_that_are_not_one_short_number_are_refused(data):
    with pytest.raises(varint.VarintError):
        varint.decode(data, 1, 3)
