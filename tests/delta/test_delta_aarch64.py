"""Instructions: what is read from a word is what was written, and nothing else in it changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import a64, aarch64

WORDS = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=40).map(lambda words: np.array(words, np.uint32))

# As an assembler writes them: word, form, distance in bytes (pages for ADRP) or low bits.
KNOWN = [
    (0x94000001, a64.BRANCH, 4),  # bl +4
    (0x17FFFFFF, a64.BRANCH, -4),  # b -4
    (0x54000040, a64.NEAR, 8),  # b.eq +8
    (0xB4FFFFE3, a64.NEAR, -4),  # cbz x3, -4
    (0x58000021, a64.NEAR, 4),  # ldr x1, +4
    (0x36080041, a64.TEST, 8),  # tbz w1, #1, +8
    (0x30000000, a64.ADR, 1),  # adr x0, +1
    (0xB0000000, a64.PAGE, 1),  # adrp x0, +1 page
    (0x90FFFFE2, a64.PAGE, -4),  # adrp x2, -4 pages
    (0x91004042, a64.ADD, 16),  # add x2, x2, #16
    (0xF9400442, a64.ACCESS, 8),  # ldr x2, [x2, #8]
    (0x3DC00442, a64.ACCESS, 16),  # ldr q2, [x2, #16]
    (0x39400442, a64.ACCESS, 1),  # ldrb w2, [x2, #1]
    (0xD503201F, a64.OTHER, 0),  # nop
]


@pytest.mark.parametrize(("word", "form", "value"), KNOWN)
def test_an_instruction_is_read_as_an_assembler_wrote_it(word, form, value):
    words = np.array([word], np.uint32)
    assert aarch64.forms(words).tolist() == [form]
    if form in (*a64.RELATIVE, a64.PAGE):
        assert aarch64.distance(words, form).tolist() == [value]
    elif form:
        assert aarch64.low(words).tolist() == [value]


@given(WORDS, st.sampled_from((*a64.RELATIVE, a64.PAGE)), st.integers(-(1 << 12), (1 << 12) - 1))
def test_a_distance_that_is_written_is_read_and_the_rest_stays(words, form, steps):
    distance = steps if form in (a64.ADR, a64.PAGE) else 4 * steps
    written = aarch64.with_distance(words, form, np.full(len(words), distance))
    assert (aarch64.distance(written, form) == distance).all()
    back = aarch64.with_distance(written, form, aarch64.distance(words, form))
    assert back.tolist() == words.tolist()


@given(WORDS, st.integers(0, 1 << 40))
def test_low_bits_that_are_written_are_read_as_far_as_the_instruction_can_hold_them(words, address):
    words = words[aarch64.forms(words) >= a64.ADD]
    written = aarch64.with_low(words, np.full(len(words), address))
    # An access of 2 to 16 bytes holds the address divided by its size.
    assert (np.abs(aarch64.low(written) - (address & 0xFFF)) < 16).all()
    assert (
        aarch64.with_low(written, aarch64.low(words)).tolist() == aarch64.with_low(words, aarch64.low(words)).tolist()
    )


@given(WORDS)
def test_what_is_straightened_is_bent_back(words):
    words = words & np.uint32(0x7FFFFFFF) | np.uint32(0x10000000)
    words = words[(aarch64.forms(words) == a64.ADR) | (aarch64.forms(words) == a64.PAGE)]
    assert aarch64.bend(aarch64.straighten(words)).tolist() == words.tolist()


@given(st.lists(st.tuples(st.sampled_from("pu."), st.integers(0, 3)), max_size=80))
def test_an_address_is_fed_by_the_nearest_adrp_of_its_register_within_reach(program):
    words = np.zeros(len(program), np.uint32)
    for at, (what, register) in enumerate(program):
        words[at] = register if what == "p" else register << 5
    pages = np.array([at for at, (what, _) in enumerate(program) if what == "p"], np.int64)
    users = np.array([at for at, (what, _) in enumerate(program) if what == "u"], np.int64)
    for user, feeder in zip(users.tolist(), aarch64.feeders(words, pages, users).tolist(), strict=True):
        near = [at for at in range(max(0, user - a64.REACH), user) if program[at] == ("p", program[user][1])]
        assert feeder == (near[-1] if near else -1)
