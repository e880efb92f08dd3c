"""Trusted time: never backwards, whatever the system clock says."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgesync.host.clock import SystemClock, TrustedTime

MOMENTS = st.integers(0, 1 << 40)


class SetClock:
    """A clock that says what it is told to say."""

    def __init__(self, wall: int = 0) -> None:
        self.said = wall

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> int:
        return self.said


@given(MOMENTS, st.lists(MOMENTS, min_size=1))
def test_trusted_time_is_the_newest_of_all_that_was_seen(floor: int, walls: list[int]) -> None:
    clock = SetClock()
    trusted = TrustedTime(clock, floor)
    for number, wall in enumerate(walls):
        clock.said = wall
        assert trusted.now() == max(floor, *walls[: number + 1])


@given(MOMENTS, st.lists(MOMENTS, min_size=1), st.lists(MOMENTS, min_size=1))
def test_a_restart_with_what_was_kept_goes_on_where_it_was(floor: int, before: list[int], after: list[int]) -> None:
    clock = SetClock()
    first = TrustedTime(clock, floor)
    for clock.said in before:
        kept = first.now()
    second = TrustedTime(clock, kept)
    for clock.said in after:
        assert second.now() >= kept


@given(st.lists(MOMENTS, min_size=2))
def test_the_largest_leap_backwards_is_told_once(walls: list[int]) -> None:
    clock = SetClock()
    trusted = TrustedTime(clock)
    for clock.said in walls:
        trusted.now()
    assert trusted.take_jump() == max(0, *(a - b for a, b in pairwise(walls)))
    assert trusted.take_jump() == 0


def test_a_board_without_a_battery_starts_at_its_floor_and_that_is_no_leap() -> None:
    clock = SetClock(5)
    trusted = TrustedTime(clock, floor=1_700_000_000)
    assert trusted.now() == 1_700_000_000
    clock.said = 1_800_000_000  # NTP has come
    assert trusted.now() == 1_800_000_000
    assert trusted.take_jump() == 0


def test_the_system_clock_is_that_of_the_system() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    assert abs(clock.wall() - time.time()) < 5
    assert clock.monotonic() >= before
