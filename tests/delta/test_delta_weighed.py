"""Copies that cost more than they save are left out, and what is left comes from where it came from."""

import random

import numpy as np
from delta_parts import copies_of
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta.copies import Copies
from edgesync.delta.weighed import weighed

CHANCE = random.Random(9)
CODE = CHANCE.randbytes(3000)


@given(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=300), st.data())
def test_what_is_left_lies_inside_both_images_and_overlaps_nowhere(base, result, data):
    left = weighed(base, result, data.draw(copies_of(len(result), len(base))))
    assert (left.length > 0).all()
    assert (left.at[1:] >= (left.at + left.length)[:-1]).all()
    assert left.at.min(initial=0) >= 0
    assert left.base.min(initial=0) >= 0
    assert (left.at + left.length).max(initial=0) <= len(result)
    assert (left.base + left.length).max(initial=0) <= len(base)


def test_a_short_copy_gives_way_to_its_neighbours_that_go_on_nearly_as_well():
    result = bytearray(CODE)
    result[1000:1004] = b"\1\2\3\4"
    copies = Copies(np.array([0, 995, 1015]), np.array([0, 2000, 1015]), np.array([995, 20, 1985]))
    left = list(weighed(CODE, bytes(result), copies).rows())
    assert [(at - place) for at, place, _ in left] == [0] * len(left)
    assert sum(length for *_, length in left) >= 2990


def test_a_copy_ends_where_little_is_equal_any_more_and_begins_again_behind():
    noise = CHANCE.randbytes(200)
    result = CODE[:1000] + noise + CODE[1200:]
    left = list(weighed(CODE, result, Copies(np.array([0]), np.array([0]), np.array([3000]))).rows())
    (first, *between, last) = left
    assert first[0] == 0
    assert 1000 <= first[2] < 1010
    assert 1190 < last[0] <= 1200
    assert last[0] + last[2] == 3000
    assert not between


def test_what_is_all_equal_stays_as_it_is():
    copies = Copies(np.array([0, 500]), np.array([1000, 0]), np.array([500, 700]))
    result = CODE[1000:1500] + CODE[:700]
    assert list(weighed(CODE, result, copies).rows()) == list(copies.rows())
