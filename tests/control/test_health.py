"""Synced and OutOfSync, Healthy to Degraded: of a board by its standing, of several by the worst of them."""

from __future__ import annotations

from itertools import permutations

import pytest
from story import CONFIGS, Story

from edgesync.control.evidence import PENDING_AFTER
from edgesync.control.fleet import FleetView
from edgesync.control.health import health, of_all, sync
from edgesync.control.state import Presence
from edgesync.control.types import Board, Group, Selector
from edgesync.control.view import overview
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Manners, Phase


def words(story: Story, board: str, presence: Presence | None = None) -> tuple[str, str]:
    device = DeviceId(f"demo.{board}")
    view = FleetView({}, {device: presence} if presence else {}, {})
    return sync(story.board(board)), health(story.board(board), view, story.now)


def test_a_board_is_followed_through_a_change_of_config() -> None:
    story = Story("b1", "b2", canaries=1)
    assert words(story, "b1") == ("Synced", "Healthy")
    story.push("A", config="X")
    assert words(story, "b1") == ("OutOfSync", "Progressing")
    assert words(story, "b2") == ("OutOfSync", "Healthy")  # it waits for its wave, and runs what it ran
    story.config("b1", "probing", "X")
    assert words(story, "b1") == ("OutOfSync", "Progressing")
    story.config("b1", "idle", "X")
    assert words(story, "b1") == ("Synced", "Healthy")
    story.config("b2", "failed", "", "ProbeFailed")
    assert words(story, "b2") == ("OutOfSync", "Degraded")


def test_drift_makes_a_board_out_of_sync_and_not_ill() -> None:
    story = Story("b1")
    story.push("A", config="X")
    story.config("b1", "idle", "X", drift=1)
    assert words(story, "b1") == ("OutOfSync", "Healthy")
    story.config("b1", "idle", "X")
    assert words(story, "b1") == ("Synced", "Healthy")


def test_a_silent_board_is_unknown_and_one_that_checks_in_only_after_it_should_have() -> None:
    story = Story("b1")
    away = Presence(up=False, since=story.now)
    assert words(story, "b1", away) == ("Synced", "Healthy")
    story.wait(PENDING_AFTER + 10)
    assert words(story, "b1", away) == ("Synced", "Unknown")
    assert words(story, "b1", Presence(up=True, since=0.0)) == ("Synced", "Healthy")
    story.push("A", manners=Manners(check_in=3600))
    assert words(story, "b1", away)[1] != "Unknown"
    story.wait(3600)
    assert words(story, "b1", away)[1] != "Unknown", "without news it tells so once a day"
    story.wait(86400 - 3600)
    assert words(story, "b1", away)[1] == "Unknown"


def test_lost_and_parked_boards_are_degraded_and_one_never_heard_is_unknown() -> None:
    story = Story("b1", "b2", lost_after=60.0)
    story.build(story.push("B"))
    story.says("b1", phase=Phase.ACTIVATING)
    story.wait(61)
    assert words(story, "b1") == ("OutOfSync", "Degraded")
    story.devices.append(DeviceId("demo.b3"))
    story.push("A")
    assert words(story, "b3") == ("OutOfSync", "Unknown")


@pytest.mark.parametrize(
    "order", list(permutations([("Synced", "Healthy"), ("Synced", "Unknown"), ("OutOfSync", "Degraded")]))
)
def test_several_boards_are_as_the_worst_of_them_in_any_order(order: list[tuple[str, str]]) -> None:
    assert of_all(order) == ("OutOfSync", "Degraded")  # type: ignore[arg-type]
    assert of_all([]) == ("Synced", "Healthy")
    assert of_all([("Synced", "Unknown"), ("Synced", "Progressing")]) == ("Synced", "Progressing")


def test_groups_and_the_fleet_say_it_too() -> None:
    boards = {
        DeviceId(f"demo.{b}"): Board(DeviceId(f"demo.{b}"), "files", {"site": s}, "")
        for b, s in (("b1", "n"), ("b2", "s"))
    }
    groups = (Group("north", Selector({"site": "n"})), Group("south", Selector({"site": "s"})))
    story = Story("b1", "b2", groups=groups, boards=boards)
    story.push("A", config="X")
    story.config("b1", "idle", "X")
    status = overview(story.state, FleetView({}, {}, {}), {}, {}, story.now)
    assert [(g["name"], g["boards"], g["sync"], g["health"], g["counts"]) for g in status["groups"]] == [
        ("north", 1, "Synced", "Healthy", {"confirmed": 1}),
        ("south", 1, "OutOfSync", "Progressing", {"offered": 1}),
    ]
    assert (status["sync"], status["health"]) == ("OutOfSync", "Progressing")
    assert status["boards"][0]["config"] == {
        "wanted": CONFIGS["X"].sha256,
        "held": CONFIGS["X"].sha256,
        "phase": "idle",
        "drift": 0,
    }
