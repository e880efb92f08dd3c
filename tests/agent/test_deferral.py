"""How long an update has been put off, whatever the clocks do in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent.deferral import Deferral

NOW = 1_796_000_000
DAY = 86400


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(-(10 * DAY), 400 * DAY)), max_size=30))
def test_in_one_process_only_the_time_that_passed_counts_whatever_the_clock_says(looks: list[tuple[int, int]]) -> None:
    deferral, now, at = Deferral(NOW, NOW, 7.5), NOW, 7.5
    for passed, jump in looks:
        at += passed
        now = max(now, now + passed + jump)  # trusted time stands still rather than going back
        deferral = deferral.look(now, at)
    assert deferral.waited == sum(passed for passed, _ in looks)


@given(st.lists(st.floats(0.0, 3.0, allow_nan=False), max_size=60))
def test_looks_that_come_often_lose_no_part_of_a_second(steps: list[float]) -> None:
    deferral, at = Deferral(NOW, NOW, 0.0), 0.0
    for step in steps:
        at += step
        deferral = deferral.look(NOW, at)
    assert abs(deferral.waited - at) <= 1


@given(st.integers(0, 100 * DAY), st.integers(0, 5000))
def test_over_a_restart_what_trusted_time_says_has_passed_counts(off: int, passed: int) -> None:
    before = Deferral(NOW, NOW, 1000.0).look(NOW + 60, 1060.0)
    again = Deferral(before.first, NOW + 60 + off, 3.0)  # another boot, another monotonic clock
    assert again.look(NOW + 60 + off + passed, 3.0 + passed).waited == 60 + off + passed


def test_a_limit_of_nothing_is_none_and_any_other_ends_the_wait_exactly_then() -> None:
    deferral = Deferral(NOW, NOW, 0.0)
    assert not deferral.look(NOW, 1e9).over(0)
    assert not deferral.look(NOW, 3599.0).over(3600)
    assert deferral.look(NOW, 3600.0).over(3600)
