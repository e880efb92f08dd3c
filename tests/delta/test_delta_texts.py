"""Text that was edited: copies stay inside what they were, and differences in text become new bytes."""

import random

import numpy as np
from delta_parts import copies_of, delta_of, firmware
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import align, texts
from edgesync.delta.addresses import NO_TABLES, Space
from edgesync.delta.copies import Copies

NOWHERE = NO_TABLES.base


def bytes_of(copies):
    """Where each byte of the result is from, as far as it is copied."""
    return {at + i: base + i for at, base, length in copies.rows() for i in range(length)}


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=200), st.data())
def test_what_is_left_of_copies_comes_from_where_it_came_from(base, result, data):
    copies = data.draw(copies_of(len(result), len(base)))
    whole = bytes_of(copies)
    for left in (
        texts.parted(base, result, copies, lambda start, _: start >= 0),
        texts.edited(base, result, copies, NOWHERE),
    ):
        assert bytes_of(left).items() <= whole.items()
        assert (left.length > 0).all()
        assert (left.at[1:] >= (left.at + left.length)[:-1]).all()


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=200), st.data())
def test_parted_copies_have_no_difference_left_and_lose_nothing_that_is_equal_for_long(base, result, data):
    copies = data.draw(copies_of(len(result), len(base)))
    left = bytes_of(texts.parted(base, result, copies, lambda start, _: start >= 0))
    assert all(result[at] == base[place] for at, place in left.items())
    for at, place, length in copies.rows():
        same = [result[at + i] == base[place + i] for i in range(length)]
        for start in range(length - texts.TEXT_MIN):
            if all(same[start : start + texts.TEXT_MIN + 1]):
                assert at + start in left


def test_words_in_text_are_cut_out_and_numbers_in_code_are_not():
    base = firmware(1, 4000)  # words, and text at the end
    result = bytearray(base)
    result[1000:1004] = b"\x80\x81\x82\x83"
    result[3900:3905] = b"other"
    whole = Copies(np.array([0]), np.array([0]), np.array([4000]))
    found = texts.edited(base, bytes(result), whole, NOWHERE)
    assert found.at.tolist() == [0, 3905]
    code = Space(np.array([0]), np.array([4000]), np.array([1 << 40]))
    assert texts.edited(base, bytes(result), whole, code).at.tolist() == [0]


def test_edited_text_is_smaller_for_it():
    chance = random.Random(3)
    lines = [f"{name}: {chance.random()}\n" for name in range(3000)]
    base = "".join(lines).encode()
    for number in range(0, 3000, 30):
        lines[number] = f"{number}: {chance.random()}\n"
    result = "".join(lines).encode()
    whole = align.align(base, result)
    assert len(delta_of(base, result, texts.edited(base, result, whole, NOWHERE))) < 0.9 * len(delta_of(base, result))


def test_copies_that_are_too_short_are_left_out_but_not_those_of_text():
    base = bytes(range(128, 192)) + b"The board pulls its firmware."
    copies = Copies(np.array([0, 30, 70]), np.array([0, 40, 66]), np.array([20, 16, 12]))
    result = bytearray(90)
    for at, place, length in copies.rows():
        result[at : at + length] = base[place : place + length]
    for least, expected in ((texts.COPY_MIN, [20, 16, 12]), (32, [12])):
        assert texts.edited(base, bytes(result), copies, NOWHERE, least).length.tolist() == expected
