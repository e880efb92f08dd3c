"""Analyses name the cause, and none where there is none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from analysis_parts import BEGIN, MINUTE, ROLLOUT, board, fill, numbers, said, span

from collector_ext.analysis import health, incident, links, memory, plots, rollouts
from collector_ext.analysis.finding import NOTHING, so_many
from collector_ext.analysis.tables import shown
from collector_ext.lake.reader import Lake
from collector_ext.pdata import Data
from collector_ext.receiver.hostmetrics import names
from edgesync.wire.errors import ConfigError

A, B, C = "acme.a", "acme.b", "acme.c"
MIB = 1 << 20
HOUR = timedelta(hours=1)
END = BEGIN + 12 * HOUR


def memory_of(device: str, values: list[float]) -> list[Data]:
    """MiB available of 512, every five minutes."""
    available = numbers(device, names.MEMORY_AVAILABLE, [value * MIB for value in values])
    return [available, numbers(device, names.MEMORY_LIMIT, [512 * MIB] * len(values))]


# --- health --------------------------------------------------------------------------------------------------------


def test_a_board_that_tells_nothing_is_worse_than_one_that_is_short_of_memory(tmp_path: Path) -> None:
    data = [*memory_of(A, [300] * 20), *memory_of(B, [300] * 5), *memory_of(C, [40] * 20)]
    with Lake(fill(tmp_path, *data)) as lake:
        frame = health.now(lake)
        assert list(frame.trouble.items()) == [(B, "silent"), (C, "short of memory"), (A, "")]
        assert str(health.worst(frame)) == f"{B}: silent (last heard 2026-03-02 00:20 UTC, 75 minutes ago)"
        earlier = health.now(lake, BEGIN + 20 * MINUTE)
        assert list(earlier.trouble.items()) == [(C, "short of memory"), (A, ""), (B, "")]


def test_the_last_update_counts_and_a_board_that_was_brought_back_is_well(tmp_path: Path) -> None:
    data = [*memory_of(A, [300] * 24), *memory_of(B, [300] * 24), board(A, "BootFailed"), board(B, "BootFailed")]
    with Lake(fill(tmp_path, *data, board(B, at=BEGIN + HOUR, release="3"))) as lake:
        frame = health.now(lake)
        assert list(frame.trouble.items()) == [(A, "update failed"), (B, "")]
        assert list(frame.release) == ["", "3"]


def test_a_fleet_that_is_well_has_no_worst_board(tmp_path: Path) -> None:
    with Lake(fill(tmp_path, *memory_of(A, [300] * 3))) as lake:
        assert health.worst(health.now(lake)) is NOTHING


def test_many_segments_sent_again_are_a_bad_link(tmp_path: Path) -> None:
    segments = numbers(A, names.TCP_SEGMENTS, [100] * 12, difference=True)
    again = numbers(A, names.TCP_RETRANSMITTED, [0] * 6 + [40] * 6, difference=True)
    with Lake(fill(tmp_path, *memory_of(A, [300] * 12), segments, again)) as lake:
        assert health.worst(health.now(lake)).evidence == "20% of the segments of the last hour sent again"


def test_an_empty_lake_says_that_it_is_empty(tmp_path: Path) -> None:
    with Lake(fill(tmp_path)) as lake, pytest.raises(ConfigError, match="no metrics"):
        health.now(lake)


# --- memory --------------------------------------------------------------------------------------------------------

FALLING = [300 - n for n in range(100)]
"""12 MiB an hour."""
WAVY = [300 + n % 7 for n in range(100)]


def leak(tmp_path: Path, falling: str, *canaries: str) -> tuple[str, str]:
    data = [item for device in (A, B, C) for item in memory_of(device, FALLING if device == falling else WAVY)]
    with Lake(fill(tmp_path, *data, *(board(device) for device in canaries))) as lake:
        frame = memory.trends(lake, ROLLOUT, BEGIN, END)
    found = memory.cause(frame, ROLLOUT)
    return found.subject, found.cause


def test_when_the_canary_alone_leaks_it_is_the_release(tmp_path: Path) -> None:
    assert leak(tmp_path, A, A) == (ROLLOUT, "a release leaks")


def test_when_a_control_board_leaks_it_is_that_board(tmp_path: Path) -> None:
    assert leak(tmp_path, B, A) == (B, "boards leak")


def test_when_one_of_two_canaries_leaks_it_is_that_board(tmp_path: Path) -> None:
    assert leak(tmp_path, A, A, B) == (A, "boards leak")


def test_ups_and_downs_are_no_leak(tmp_path: Path) -> None:
    assert leak(tmp_path, "", A) == ("", "")


def test_a_leak_says_when_nothing_is_left_and_others_never(tmp_path: Path) -> None:
    with Lake(fill(tmp_path, *memory_of(A, FALLING), *memory_of(B, WAVY))) as lake:
        frame = memory.trends(lake, ROLLOUT, BEGIN, END)
    last = BEGIN + 99 * 5 * MINUTE
    expected = last + 201 * 5 * MINUTE  # 201 MiB are left, one goes every five minutes
    assert abs(frame.out_at[A] - expected) < timedelta(seconds=1)
    assert frame.mib_per_hour[A] == pytest.approx(-12)
    assert frame.out_at.isna()[B]


# --- links ---------------------------------------------------------------------------------------------------------


TARIFF = links.Tariff(base=2.0, included_mb=100, per_mb=0.1)


def traffic(device: str, **purposes: int) -> list[Data]:
    return [
        numbers(device, links.LINK_IO, [size], begin=BEGIN + MINUTE, difference=True, purpose=purpose)
        for purpose, size in purposes.items()
    ]


def test_the_bill_is_of_a_month_and_names_the_purpose_that_stands_out(tmp_path: Path) -> None:
    data = [*traffic(A, blob=2_000_000), *traffic(B, blob=2_000_000, refetched=8_000_000), *traffic(C, blob=3_000_000)]
    with Lake(fill(tmp_path, *data)) as lake:
        table = links.by_purpose(lake, BEGIN, BEGIN + 24 * HOUR)
        hourly = links.over_time(lake, BEGIN, BEGIN + 24 * HOUR, B)
    bill = links.bill(table, 86400, 200, TARIFF)
    assert list(bill.loc[B]) == pytest.approx([300, 1.5, 22.0])
    assert list(bill.loc[A]) == pytest.approx([60, 0.3, 2.0])
    assert str(links.cause(table, bill)) == f"{B}: refetched (8.0 MB more than the median board, 1.5 times the budget)"
    assert dict(hourly.iloc[0]) == {"blob": 2.0, "refetched": 8.0}


def test_within_the_budget_nobody_is_named(tmp_path: Path) -> None:
    with Lake(fill(tmp_path, *traffic(A, blob=10))) as lake:
        table = links.by_purpose(lake, BEGIN, BEGIN + HOUR)
    assert links.cause(table, links.bill(table, 3600, 200, TARIFF)) is NOTHING


# --- rollouts ------------------------------------------------------------------------------------------------------


def test_the_first_board_that_failed_is_named_with_its_error_and_the_phase(tmp_path: Path) -> None:
    data = [
        board(A),
        board(B, "BootFailed", at=BEGIN + MINUTE),
        board(C, "DiskFull", at=BEGIN + HOUR),
        span(B, "update", BEGIN, BEGIN + 4 * MINUTE, "BootFailed"),
        span(B, "fetching", BEGIN, BEGIN + 2 * MINUTE),
        span(B, "activating", BEGIN + 2 * MINUTE, BEGIN + 4 * MINUTE, "BootFailed"),
        span(C, "applying", BEGIN, BEGIN + 4 * MINUTE, "DiskFull"),
    ]
    with Lake(fill(tmp_path, *data)) as lake:
        assert str(rollouts.cause(lake, ROLLOUT)) == f"{B}: BootFailed (while activating; 1 of 3 boards confirmed)"
        assert list(rollouts.phases(lake, ROLLOUT, B).phase) == ["update", "fetching", "activating"]
        assert list(rollouts.known(lake).loc[ROLLOUT, ["boards", "failed"]]) == [3, 2]


def test_a_rollout_that_all_boards_confirmed_has_no_cause(tmp_path: Path) -> None:
    with Lake(fill(tmp_path, board(A))) as lake:
        assert rollouts.cause(lake, ROLLOUT) is NOTHING
        assert list(rollouts.boards(lake, ROLLOUT).minutes) == [5.0]


@pytest.mark.parametrize(("error", "legend"), [("", ["canary"]), ("BootFailed", ["canary", "failed"])])
def test_a_timeline_explains_only_the_colours_that_it_has(tmp_path: Path, error: str, legend: list[str]) -> None:
    with Lake(fill(tmp_path, board(A), board(B, error))) as lake:
        frame = rollouts.boards(lake, ROLLOUT).assign(wave="canary")
    plots.timeline(frame)
    explained = plt.gcf().axes[0].get_legend()
    plt.close()
    assert [text.get_text() for text in explained.get_texts()] == legend


def test_bars_stand_in_the_order_of_the_values_and_say_how_many_boards_have_none() -> None:
    count = plots.SHOWN + 5
    values = pd.Series(range(count), index=[f"acme.b{number:02}" for number in range(count)])
    plots.bars(values, "MiB", ["acme.b07"], ("wrong", "well"))
    ax = plt.gcf().axes[0]
    names = {bar.get_y() + bar.get_height() / 2: bar.get_width() for bar in ax.patches}
    assert [names[place] for place in sorted(names)] == pytest.approx(list(range(plots.SHOWN)))
    assert ax.get_ylabel() == f"the first {plots.SHOWN} of {count} boards"
    plt.close()


def test_a_table_has_times_to_the_second_three_digits_and_no_row_for_the_name_of_its_index() -> None:
    frame = pd.DataFrame(
        {"at": [pd.Timestamp("2026-03-02 09:46:45.739"), pd.NaT], "left": [1234.567, float("nan")], "kept": ["x", "y"]},
        index=pd.Index(["a", "b"], name="device"),
    )
    made = shown(frame, {"at": "at (UTC)", "left": "left (MiB)"})
    assert made.to_dict("index") == {
        "a": {"at (UTC)": "2026-03-02 09:46:45", "left (MiB)": "1,235"},
        "b": {"at (UTC)": "", "left (MiB)": ""},
    }
    assert (made.index.name, made.columns.name) == (None, "device")


# --- incidents -----------------------------------------------------------------------------------------------------


def test_what_left_its_course_first_is_the_cause(tmp_path: Path) -> None:
    start = BEGIN + 3 * HOUR
    quiet, loud = [0] * 36, [30] * 12
    data = [
        numbers(A, names.TCP_SEGMENTS, [100] * 48, difference=True),
        numbers(A, names.TCP_RETRANSMITTED, quiet + loud, difference=True),
        numbers(A, names.TCP_ROUND_TRIP, [0.2] * 40 + [3.0] * 8),
        numbers(A, names.MEMORY_UTILIZATION, [0.5] * 48),
        said(A, {start + 30 * MINUTE: (13, "connection lost"), start: (9, "fetching")}),
        span(A, "fetching", start, start + 35 * MINUTE, "Link"),
    ]
    with Lake(fill(tmp_path, *data)) as lake:
        frame = incident.beginnings(lake, A, start, start + HOUR)
    assert list(frame.signal) == ["segments sent again", "round trip", "log", "update"]
    assert incident.cause(A, frame).cause == "link"


def test_one_odd_reading_is_no_incident(tmp_path: Path) -> None:
    data = numbers(A, names.MEMORY_UTILIZATION, [0.5] * 40 + [0.9] + [0.5] * 7)
    with Lake(fill(tmp_path, data)) as lake:
        frame = incident.beginnings(lake, A, BEGIN + 3 * HOUR, BEGIN + 4 * HOUR)
    assert incident.cause(A, frame) is NOTHING


def test_one_board_is_no_boards() -> None:
    assert [so_many(count) for count in (0, 1, 2)] == ["0 boards", "1 board", "2 boards"]
