"""Copies and where they say that things moved: as a brute force over every byte would have it."""

import numpy as np
import pytest
from delta_parts import NO_COPIES, copies_of
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta.copies import Copies, Steps, moves_of


def places(copies, offset=0):
    return {offset + at + i: base + i for at, base, length in copies.rows() for i in range(length)}


@given(copies_of(400, 500, 12), st.integers(0, 400), st.integers(0, 400))
def test_a_window_takes_the_same_bytes_of_the_base_to_the_same_place(chosen, one, other):
    start, end = min(one, other), max(one, other)
    inside = {at: base for at, base in places(chosen).items() if start <= at < end}
    assert places(chosen.window(start, end), start) == inside


@given(copies_of(400, 200, 12))
def test_each_byte_that_was_copied_moves_with_the_longest_copy_that_has_it(chosen):
    moves = moves_of(chosen)
    rows = sorted(chosen.rows(), key=lambda row: -row[2])
    for offset in range(200):
        best = next((row for row in rows if row[1] <= offset < row[1] + row[2]), None)
        if best:
            assert moves(np.array([offset])).tolist() == [offset + best[0] - best[1]]


@given(copies_of(400, 200, 12))
def test_what_was_not_copied_moves_with_what_is_before_it(chosen):
    moves = moves_of(chosen)
    covered = {base + i for _, base, length in chosen.rows() for i in range(length)}
    shift = moves(np.arange(200)) - np.arange(200)
    for offset in range(200):
        if offset not in covered:
            assert shift[offset] == (shift[offset - 1] if offset else 0)


def test_without_copies_nothing_moves():
    assert moves_of(NO_COPIES)(np.array([0, 7])).tolist() == [0, 7]


@pytest.mark.timeout(20)
def test_as_many_copies_as_a_chapter_may_have_all_over_one_another_are_done_in_no_time():
    count = 1 << 16
    at = np.arange(count) * (1 << 17)
    nested = Copies(at, np.arange(count), 2 * (count - np.arange(count)))
    assert len(moves_of(nested).start) == 1
    reverse = Copies(at, count - np.arange(count), 1 + 2 * np.arange(count))
    assert len(moves_of(reverse).start) >= 1


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-9, 9)), unique_by=lambda row: row[0]))
def test_steps_add_what_stands_at_the_last_start(rows):
    rows.sort()
    steps = Steps(*np.array(rows, np.int64).reshape(-1, 2).T)
    for value in range(-60, 60):
        before = [shift for start, shift in rows if start <= value]
        assert steps(np.array([value])).tolist() == [value + (before[-1] if before else 0)]
