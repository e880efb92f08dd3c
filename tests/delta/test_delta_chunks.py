"""Cutting images by their content: the same bytes are cut alike wherever they lie, and found again."""

import random

from delta_parts import firmware
from delta_trees import small_scale
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import chunks

CHANCE = random.Random(8)


@given(st.binary(max_size=3000), st.integers(0, 1 << 40))
def test_chunks_make_up_the_span(data, offset):
    with small_scale():
        found = chunks.cut(data, offset)
        assert (found.length[:-1] >= chunks.SHORTEST).all()
        assert (found.length <= chunks.LONGEST + chunks.SHORTEST).all()
    assert found.length.sum() == len(data)
    assert found.start.tolist() == (offset + found.length.cumsum() - found.length).tolist()


@given(st.binary(max_size=900), st.binary(max_size=900), st.binary(max_size=900))
def test_what_is_matched_is_equal(left, middle, right):
    old, new = left + middle + right, right + middle + left + middle
    with small_scale():
        copies = chunks.match(chunks.cut(old, 0), chunks.cut(new, 0))
    for at, base, length in copies.rows():
        assert new[at : at + length] == old[base : base + length]


def test_most_of_what_moved_by_an_odd_number_of_bytes_is_found():
    old = CHANCE.randbytes(400_000)
    new = b"new" + old[:100_000] + b"inserted" + old[100_000:]
    copies = chunks.match(chunks.cut(old, 0), chunks.cut(new, 0))
    assert copies.length.sum() > 0.85 * len(old)


def test_of_equal_chunks_the_one_in_the_same_place_is_taken():
    old = CHANCE.randbytes(20_000) * 4
    copies = chunks.match(chunks.cut(old, 0), chunks.cut(old, 0))
    assert (copies.at == copies.base).all()
    assert copies.length.sum() == len(old)


def test_of_equal_chunks_the_one_behind_the_match_before_is_taken():
    twice = firmware(4, 60_000)
    old = b"a" * 5000 + twice + CHANCE.randbytes(90_000) + twice + b"z" * 3000
    new = old[len(old) - 3000 - len(twice) - 90_000 :]
    copies = chunks.match(chunks.cut(old, 0), chunks.cut(new, 0))
    assert len(set((copies.base - copies.at).tolist())) == 1


def test_long_zeros_are_blank_and_nothing_else_is():
    data = CHANCE.randbytes(100_000) + bytes(500_000) + b"\1" * 300_000
    found = chunks.blank(chunks.cut(data, 10))
    assert all(
        not any(data[start - 10 : start - 10 + size]) for start, size in zip(found.offset, found.length, strict=True)
    )
    assert found.total > 350_000
