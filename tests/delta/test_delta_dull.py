"""Long repetitions are left out of the search, and are copied all the same where they did not change."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import align
from edgesync.delta.common import samples
from edgesync.delta.dull import lively

PARTS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=300),
        st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 6000)).map(lambda part: part[0] * part[1]),
    ),
    max_size=5,
).map(b"".join)


@given(PARTS)
def test_only_what_is_repeated_is_left_out(image):
    view = lively(image, samples(image))
    assert (view.offset[1:] > (view.offset + view.length)[:-1]).all()
    assert view.total <= len(image)
    rebuilt, at = bytearray(), 0
    for offset, length in zip(view.offset.tolist(), view.length.tolist(), strict=True):
        while at < offset:
            assert any(image[at] == image[at - period] for period in (48, 64, 80, 256))
            at += 1
        rebuilt += image[offset : offset + length]
        at = offset + length
    assert bytes(rebuilt) == view.of(image)


@given(PARTS, PARTS)
def test_the_alignment_stays_inside_both_images(base, result):
    copies = align.align(base, result)
    assert (copies.length > 0).all()
    assert (copies.at[1:] >= (copies.at + copies.length)[:-1]).all()
    assert copies.base.min(initial=0) >= 0
    assert (copies.at + copies.length).max(initial=0) <= len(result)
    assert (copies.base + copies.length).max(initial=0) <= len(base)


def test_zeros_between_unchanged_bytes_are_copied_with_them():
    chance = random.Random(3)
    left, right = chance.randbytes(5000), chance.randbytes(5000)
    old = left + bytes(90_000) + right
    copies = align.align(old, b"new" + old)
    assert list(copies.rows()) == [(3, 0, len(old))]


def test_a_repetition_is_searched_in_no_time():
    """Without help these take many minutes, and the limit of a test is five."""
    chance = random.Random(5)
    for pattern in (b"\0", b"abcd", bytes(range(80)), chance.randbytes(1000), chance.randbytes(4096)):
        old = pattern * (2_000_000 // len(pattern))
        new = bytearray(old)
        for at in range(70_000, len(new), 70_000):
            new[at] ^= 1
        copies = align.align(old, bytes(new))
        assert copies.length.sum() < len(new)


def test_zeros_at_both_ends_are_copied_too():
    old = bytes(50_000) + random.Random(4).randbytes(3000) + bytes(60_000)
    assert list(align.align(old, old).rows()) == [(0, 0, len(old))]
