"""Branches of 32-bit ARM: what is read from a word is what was written, and nothing else in it changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import a32, aarch32

WORDS = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=40).map(lambda words: np.array(words, np.uint32))

# As an assembler writes them: word, and distance in bytes for a branch.
KNOWN = [
    (0xEBFFFFFE, 0),  # bl .
    (0xEA000000, 8),  # b .+8
    (0x0AFFFFFD, -4),  # beq .-4
    (0xFA000001, 12),  # blx .+12
    (0xEB7FFFFF, 0x2000004),  # bl to as far as it goes
    (0xEB800000, 8 - 0x2000000),
    (0xE1A00000, None),  # nop
    (0xE8BD8010, None),  # pop {r4, pc}
    (0xE12FFF1E, None),  # bx lr
]


@pytest.mark.parametrize(("word", "distance"), KNOWN)
def test_an_instruction_is_read_as_an_assembler_wrote_it(word, distance):
    words = np.array([0, word], np.uint32)
    assert aarch32.branches(words).tolist() == [1] * a32.is_branch(word) == [1] * (distance is not None)
    if distance is not None:
        assert aarch32.distance(words).tolist()[1] == a32.distance(word) == distance


@given(WORDS, st.integers(-(1 << 23), (1 << 23) - 1))
def test_a_distance_that_is_written_is_read_and_the_rest_stays(words, steps):
    distance = 4 * steps + a32.AHEAD
    written = aarch32.with_distance(words, np.full(len(words), distance))
    assert (aarch32.distance(written) == distance).all()
    assert aarch32.with_distance(written, aarch32.distance(words)).tolist() == words.tolist()


@given(st.integers(0, (1 << 32) - 1), st.integers(-(1 << 40), 1 << 40))
def test_one_word_is_treated_as_many_are(word, distance):
    words = np.array([word], np.uint32)
    assert aarch32.branches(words).tolist() == [0] * a32.is_branch(word)
    assert aarch32.distance(words).tolist() == [a32.distance(word)]
    assert aarch32.with_distance(words, np.array([distance])).tolist() == [a32.with_distance(word, distance)]
