"""Windows against the clock: what is open follows the wall clock of the zone, over midnight and over changed clocks."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import Story, offers

from edgesync.control.rollout import withheld
from edgesync.control.types import Selector, Window
from edgesync.control.windows import closed, is_open

BERLIN = "Europe/Berlin"
DAYS = frozenset(range(7))
MINUTES = st.integers(0, 24 * 60 - 1)
ZONES = st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"])
# Two years, with every change of the clocks in them.
TIMES = st.integers(1_767_225_600, 1_767_225_600 + 2 * 366 * 86400).map(float)
WINDOWS = st.builds(
    Window,
    st.sampled_from(["nights", "works", "weekend"]),
    st.just(Selector()),
    st.frozensets(st.integers(0, 6), min_size=1),
    MINUTES,
    MINUTES,
    ZONES,
    st.sampled_from(["allow", "deny"]),
)


def window(start: str, end: str, days: frozenset[int] = DAYS, kind: str = "allow", **labels: str) -> Window:
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (start, end)]
    return Window("nights", Selector(labels), days, *minutes, BERLIN, kind)  # type: ignore[arg-type]


def berlin(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=fold).timestamp()


@given(WINDOWS, TIMES)
def test_a_window_and_the_rest_of_the_day_are_never_open_together_and_never_both_closed(
    window: Window, now: float
) -> None:
    every = Window("a", Selector(), DAYS, window.start, window.end, window.timezone, "allow")
    rest = Window("b", Selector(), DAYS, window.end, window.start, window.timezone, "allow")
    if window.start != window.end:
        assert is_open(every, now) != is_open(rest, now)
    else:
        assert is_open(every, now)


@given(WINDOWS, TIMES)
def test_an_open_window_began_on_one_of_its_days(window: Window, now: float) -> None:
    if is_open(window, now):
        local = datetime.fromtimestamp(now, ZoneInfo(window.timezone)).replace(tzinfo=None)
        began = local.replace(hour=window.start // 60, minute=window.start % 60, second=0, microsecond=0)
        began -= timedelta(days=began > local)
        assert began.weekday() in window.days
        assert local - began < timedelta(days=1)


@given(st.lists(WINDOWS, max_size=4), TIMES)
def test_deny_wins_over_allow_and_no_window_that_matches_means_any_time(windows: list[Window], now: float) -> None:
    kinds = {kind: [is_open(w, now) for w in windows if w.kind == kind] for kind in ("allow", "deny")}
    expected = not any(kinds["deny"]) and (any(kinds["allow"]) or not kinds["allow"])
    assert (closed(windows, {}, now) == "") == expected
    others = [Window(w.name, Selector({"site": "north"}), w.days, w.start, w.end, w.timezone, w.kind) for w in windows]
    assert closed(others, {"site": "south"}, now) == ""


@given(st.lists(WINDOWS, min_size=1, max_size=3), TIMES, st.integers(0, 8 * 86400))
def test_the_time_that_is_named_is_one_at_which_it_is_open_and_it_was_closed_till_then(
    windows: list[Window], now: float, later: int
) -> None:
    reason = closed(windows, {}, now)
    if named := re.search(r"until (.*)Z", reason):
        opens = datetime.fromisoformat(named[1]).replace(tzinfo=timezone.utc).timestamp()
        assert opens > now
        assert closed(windows, {}, opens) == ""
        assert closed(windows, {}, now + later % (opens - now)) != ""
    elif reason:
        assert "no window opens" in reason


@pytest.mark.parametrize(
    ("moment", "fold", "expected"),
    [
        ("2026-03-29T01:59", 0, False),
        ("2026-03-29T03:00", 0, True),  # the clocks skip from 02:00 to 03:00
        ("2026-03-29T03:29", 0, True),
        ("2026-03-29T03:30", 0, False),
        ("2026-10-25T02:10", 0, True),
        ("2026-10-25T02:10", 1, True),  # the same reading an hour later
    ],
)
def test_a_window_follows_the_wall_clock_when_the_clocks_change(moment: str, fold: int, expected: bool) -> None:
    assert is_open(window("02:00", "03:30"), berlin(moment, fold)) is expected


def test_a_window_in_the_hour_that_the_clocks_repeat_is_named_both_times() -> None:
    short = window("02:00", "02:30")
    for fold, opens in ((0, "2026-10-25 01:00Z"), (1, "2026-10-26 01:00Z")):
        assert closed([short], {}, berlin("2026-10-25T02:45", fold)) == f"outside of window nights, until {opens}"


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    friday = window("22:00", "04:00", frozenset({4}))
    assert [
        is_open(friday, berlin(f"2026-11-{moment}")) for moment in ("27T21:59", "27T22:00", "28T03:59", "28T04:00")
    ] == [
        False,
        True,
        True,
        False,
    ]
    assert not is_open(friday, berlin("2026-11-27T02:00"))


def test_outside_of_its_window_a_board_is_offered_nothing_and_the_reason_can_be_read() -> None:
    now = berlin("2026-11-26T12:00")
    story = Story("b1", now=now)
    story.settings["windows"] = (window("22:00", "04:00"),)
    assert story.push("A", config="X") == []
    board = story.board("b1")
    assert withheld(story.state, board, now) == "outside of window nights, until 2026-11-26 21:00Z"
    assert offers(story.wait(9 * 3600)) == []
    assert offers(story.wait(3600)) == ["b1"]


def test_a_window_that_closes_calls_nothing_back() -> None:
    story = Story("b1", now=berlin("2026-11-26T23:00"))
    story.settings["windows"] = (window("22:00", "04:00"),)
    assert offers(story.push("A", config="X")) == ["b1"]
    assert story.wait(6 * 3600) == []
    story.config("b1", "idle", "X")
    assert story.state.phase == "done"
