"""Looking up and ordering numbers: the same as numpy's own, which take longer."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import order

KEYS = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**63 - 1), st.sampled_from([1 << 20, 1 << 40, 5 << 58])))
NUMBERS = st.lists(st.integers(-3, 60))


@given(KEYS)
def test_ascending_is_a_stable_sort(keys):
    found = order.ascending(np.array(keys, np.int64))
    assert found.tolist() == sorted(range(len(keys)), key=keys.__getitem__)


@given(st.lists(st.integers(0, 2**16 - 1)))
def test_ascending_sorts_upper_halves_of_words(halves):
    words = np.array(halves, np.uint32)
    assert order.ascending(words).tolist() == sorted(range(len(halves)), key=halves.__getitem__)


@given(st.lists(st.integers(0, 50), unique=True).map(sorted), NUMBERS)
def test_the_last_start_before_each_value_is_found(starts, values):
    found = order.last_before(np.array(starts, np.int64), np.array(values, np.int64))
    expected = [sum(start <= value for start in starts) - 1 for value in values]
    assert np.broadcast_to(found, (len(values),)).tolist() == expected


@given(NUMBERS)
def test_distinct_values_ascend(values):
    assert order.distinct(np.array(values, np.int64)).tolist() == sorted(set(values))
