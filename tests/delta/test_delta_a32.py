"""Instructions of 32-bit ARM: what is read from a word is what was written, and nothing else in it changes."""

from array import array

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


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (0xE59F3004, (3, 3)),  # ldr r3, [pc, #4]
        (0xE51F1004, (1, 1)),  # ldr r1, [pc, #-4]
        (0x059FC000, (12, 2)),  # ldreq r12, [pc]
        (0xE59F3006, None),  # of no word
        (0xE5DF3004, None),  # ldrb r3, [pc, #4]
        (0xE5913004, None),  # ldr r3, [r1, #4]
        (0xE58F3004, None),  # str r3, [pc, #4]
    ],
)
def test_a_literal_is_found_as_an_assembler_wrote_it(word, found):
    assert a32.loaded(word) == found


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (0xE08F3003, 3),  # add r3, pc, r3
        (0x108F3001, 1),  # addne r3, pc, r1
        (0xE79F300C, 12),  # ldr r3, [pc, r12]
        (0xE0823003, None),  # add r3, r2, r3
        (0xE28F3003, None),  # add r3, pc, #3
        (0xE08F3103, None),  # add r3, pc, r3, lsl #2
    ],
)
def test_what_is_added_to_pc_is_found_as_an_assembler_wrote_it(word, found):
    assert a32.added(word) == found


@given(st.lists(st.tuples(st.sampled_from("lax."), st.integers(0, 2), st.integers(-3, 8)), max_size=100), st.data())
def test_a_literal_belongs_to_the_first_that_adds_what_was_loaded_last_within_reach(program, data):
    coded = {"l": 0xE51F0000, "a": 0xE08F0000, "x": 0xE79F0000, ".": 0xE1A00000}
    words = array("I", [coded[what] for what, _, _ in program])
    for at, (what, register, steps) in enumerate(program):
        words[at] |= register << 12 | (steps > 0) << 23 | 4 * abs(steps) if what == "l" else register
    known = data.draw(st.lists(st.booleans() | st.just(True), min_size=len(words), max_size=len(words)))
    expected: dict[int, int] = {}
    for at in range(len(words)):
        register = a32.added(words[at])
        loads = [load for load in range(at) if known[load] and (a32.loaded(words[load]) or (-1,))[0] == register]
        if register is not None and known[at] and loads and at - loads[-1] <= a32.REACH:
            literal = loads[-1] + a32.loaded(words[loads[-1]])[1]
            if 0 <= literal < len(words) and known[literal]:
                expected.setdefault(literal, at)
    found = aarch32.literals(np.array(words, np.uint32), np.array(known, np.bool_))
    assert dict(zip(*(column.tolist() for column in found), strict=True)) == expected
