"""What is in one image only is not searched for in the other; what both have is, wherever it lies."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import align
from edgesync.delta.common import foreign, periods, samples

CHANCE = random.Random(8)
NOISE, OTHER = CHANCE.randbytes(3 << 20), CHANCE.randbytes(3 << 20)


@given(st.binary(max_size=3000), st.binary(max_size=40))
def test_equal_parts_have_equal_samples_wherever_they_lie(image, before):
    here, there = (
        set(zip(some.at.tolist(), some.value.tolist(), strict=True)) for some in map(samples, (image, before + image))
    )
    assert {(at + len(before), value) for at, value in here} <= there
    assert all(image[at : at + 8] == value.to_bytes(8, "little") for at, value in here)


def test_noise_is_foreign_to_other_noise_but_not_to_itself():
    assert foreign(samples(NOISE), samples(OTHER)).total == len(NOISE)
    assert foreign(samples(NOISE), samples(b"." + NOISE)).total == 0


def test_a_part_that_both_have_is_never_foreign():
    shared = NOISE[:60_000]
    image = OTHER[:1_500_000] + shared + OTHER[1_500_000:]
    left = foreign(samples(image), samples(NOISE))
    assert 0 < left.total <= len(OTHER)
    assert ((left.offset + left.length <= 1_500_000) | (left.offset >= 1_500_000 + len(shared))).all()


def test_what_is_short_is_searched_for_though_no_sample_of_it_is_in_the_other_image():
    old = bytes(range(1, 251)) * 2000
    new = bytearray(old)
    new[::7] = CHANCE.randbytes(len(new[::7]))  # as a table of which each entry changed
    assert foreign(samples(bytes(new)), samples(NOISE)).total == 0


def test_zeros_are_no_noise():
    assert foreign(samples(bytes(200_000)), samples(NOISE)).total == 0


def test_what_moved_between_noise_is_found():
    base, result = NOISE + OTHER[:100_000], OTHER[:100_000] + CHANCE.randbytes(2_000_000)
    copies = align.align(base, result)
    assert (0, len(NOISE), 100_000) in {(at, place, min(length, 100_000)) for at, place, length in copies.rows()}


def test_the_distances_at_which_an_image_repeats_itself_are_told_most_frequent_first():
    image = NOISE[:4096] * 50 + OTHER[:1000] * 60
    assert periods(samples(image), 1 << 16, 64, 2) == [4096, 1000]
    assert periods(samples(NOISE), 1 << 16, 64, 2) == []
