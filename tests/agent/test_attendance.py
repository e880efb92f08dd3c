"""When a board comes and when it leaves, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent.attendance import CALM, DAY, EARLY, LINGER, TRY_LIMIT, Attendance, Look, wants_report

HOURS = 3600


def run(attendance: Attendance, looks: list[Look], interval: int = 6 * HOURS, chance: float = 0.5) -> Attendance:
    for look in looks:
        attendance = attendance.look(look, interval, chance)
    return attendance


def resting(now: float) -> list[Look]:
    """Looks of a connection that is there since `now`, has brought what it had, and has nothing to do."""
    return [Look(now + second, connected=now, answered=now, heard=True) for second in range(int(CALM) + 2)]


def test_a_board_that_stays_never_leaves() -> None:
    looks = [*resting(0.0), *(Look(second) for second in range(10, 10 * DAY, 3600)), *resting(10.0 * DAY)]
    assert run(Attendance(), looks, interval=0).present


def test_with_nothing_to_do_it_leaves_and_comes_again_within_the_interval() -> None:
    left = run(Attendance(), resting(100.0))
    assert not left.present
    assert 6 * HOURS * (1 - EARLY) <= left.due - left.since <= 6 * HOURS
    assert not left.look(Look(left.due - 1), 6 * HOURS, 0.0).present
    assert left.look(Look(left.due), 6 * HOURS, 0.0).present


@given(st.floats(0.0, 1.0), st.integers(60, 30 * DAY))
def test_chance_only_brings_a_check_in_forward(chance: float, interval: int) -> None:
    left = run(Attendance(), resting(0.0), interval, chance)
    assert left.since + interval * (1 - EARLY) - 1 <= left.due <= left.since + interval


def test_it_waits_for_the_desired_state_and_no_longer_than_that_takes_where_there_is_none() -> None:
    before = [Look(second, connected=0.0) for second in range(100)]
    assert run(Attendance(), before).present, "the broker has not answered"
    silent = [Look(second, connected=0.0, answered=100.0) for second in range(100, 200)]
    left = run(Attendance(), [*before, *silent])
    assert not left.present
    assert 100 + LINGER + CALM <= left.since <= 100 + LINGER + CALM + 1


def test_as_long_as_something_is_under_way_it_stays_days_if_need_be() -> None:
    looks = [Look(second, 0.0, 1.0, heard=True, busy=True) for second in range(2, 3 * DAY, 60)]
    busy = run(Attendance(), looks)
    assert busy.present
    assert not run(busy, resting(3.0 * DAY)).present


def test_a_blob_that_does_not_come_is_waited_for_as_long_as_the_broker() -> None:
    looks = [Look(second, 0.0, 1.0, heard=True, starving=True) for second in range(2, 5000)]
    assert run(Attendance(), looks[: int(TRY_LIMIT) - 5]).present
    assert not run(Attendance(), looks).present


def test_a_broker_that_cannot_be_reached_is_tried_for_ten_minutes_after_each_cut() -> None:
    cut = [Look(second, 0.0, 1.0, heard=True, busy=True) for second in range(100)]
    away = [Look(second, busy=True) for second in range(100, 5000)]
    assert run(Attendance(), [*cut, *away[: int(TRY_LIMIT) - 2]]).present
    assert not run(Attendance(), [*cut, *away]).present


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_nobody_leaves_or_stays_away_around_a_reboot(connected: list[bool]) -> None:
    attendance = run(Attendance(), resting(0.0))
    for number, up in enumerate(connected):
        now = 1000.0 * (number + 1)
        look = Look(now, connected=now - 500 if up else None, answered=now - 400, heard=True, bound=True)
        attendance = attendance.look(look, 6 * HOURS, 0.5)
        assert attendance.present


def test_a_wish_from_outside_ends_the_wait_and_so_do_new_manners() -> None:
    left = run(Attendance(), resting(0.0), 30 * DAY)
    assert left.wake().look(Look(60.0), 30 * DAY, 0.5).present
    assert left.look(Look(60.0), 0, 0.5).present
    assert left.look(Look(4000.0), HOURS, 0.5).present, "an interval that became shorter counts at once"
    assert not left.look(Look(3000.0), HOURS, 0.5).present
    there = Attendance()
    assert there.wake() == there


@given(st.integers(60, 3 * DAY), st.floats(0.0, 1.0))
def test_no_day_passes_without_a_report_where_a_check_in_is_within_a_day(interval: int, chance: float) -> None:
    now, reported, longest = 0.0, 0.0, 0.0
    for _ in range(50):
        now += interval * (1 - EARLY * chance)
        if wants_report(now, reported, interval):
            longest, reported = max(longest, now - reported), now
    assert longest <= max(DAY, interval)
    assert wants_report(5.0, None, interval)
