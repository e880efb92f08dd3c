"""Calendar months, and counts that turn with them whatever the clock does."""

from __future__ import annotations

from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent.month import LAST, Month, begin_of, day_of, end_of

DAY = 86400


@given(st.integers(0, LAST))
def test_a_month_begins_at_midnight_of_the_first_and_ends_28_to_31_days_later(now: int) -> None:
    begin, end = begin_of(now), end_of(now)
    assert 28 * DAY <= end - begin <= 31 * DAY
    assert (begin % DAY, end % DAY) == (0, 0)
    assert begin <= now
    assert begin_of(end - 1) == begin
    assert begin_of(end) == min(end, begin_of(LAST))
    assert day_of(begin).endswith("-01")


def test_the_last_second_of_a_leap_february_belongs_to_it() -> None:
    last = int(datetime(2028, 2, 29, 23, 59, 59, tzinfo=timezone.utc).timestamp())
    assert day_of(begin_of(last)) == "2028-02-01"
    assert day_of(end_of(last)) == "2028-03-01"


@given(st.lists(st.tuples(st.integers(end_of(0), (1 << 53) - 1), st.integers(0, 1 << 20))))
def test_a_clock_that_jumps_makes_no_month_come_back_and_no_byte_count_twice(looks: list[tuple[int, int]]) -> None:
    month, expected = Month(end_of(0)), {end_of(0): 0}
    for now, size in looks:
        month = month.at(now).plus(total=size)
        newest = max(*expected, begin_of(now))
        expected[newest] = expected.get(newest, 0) + size
        assert (month.begin, month.total) == (newest, expected[newest])


@given(st.lists(st.tuples(st.sampled_from(["blob", "refetched"]), st.integers(-(1 << 31), 1 << 31))))
def test_no_purpose_is_ever_below_zero_and_what_was_saved_is_read_again(steps: list[tuple[str, int]]) -> None:
    month = Month(begin_of(1_800_000_000))
    for name, count in steps:
        month = month.plus(**{name: count})
        assert min(month.to_dict().values()) >= 0
    assert Month.from_dict(month.to_dict()) == month


def test_what_was_counted_before_the_time_was_known_belongs_to_the_first_month() -> None:
    assert Month().plus(total=7).at(1_800_000_000) == Month(begin_of(1_800_000_000), 7)
