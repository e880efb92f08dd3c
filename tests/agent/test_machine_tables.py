"""What the server sees of an update that is killed, cut off or refused in each phase, and what is rare in a search."""

from __future__ import annotations

import pytest
from model_board import COMPONENTS, FACTORY, Board, image, on

from edgesync.agent import effects, events, machine
from edgesync.agent.machine import State
from edgesync.boards.bootenv import BootEnv
from edgesync.wire.errors import (
    BlobMissingError,
    ForgedMessageError,
)
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ErrorReport, Phase, Target

NEW = {component: image("good", 1, component) for component in COMPONENTS}
UPDATE = ["fetching", "applying", "fetching", "applying", "activating", "confirming", "idle"]
"""The phases of one release of two components, as the server hears them."""


def until(board: Board, phase: Phase) -> None:
    """Life goes on until the board is in this phase and its effects are under way."""
    for _ in range(40):
        if board.state.phase is phase and not board.queue:
            return
        assert board.go_on()
    raise AssertionError(f"never {phase}: {board.state}")


def updating(images: dict[str, Digest] = NEW) -> Board:
    """A board from the factory that has just been told to run other images."""
    board = Board()
    board.boot()
    board.settle()
    board.reports.clear()
    board.queue.append(events.Wanted(board.want(images)))
    return board


def phases(board: Board) -> list[str]:
    """What the server sees: the phases of the reports, with the name of the error; the same again is one."""
    seen: list[str] = []
    for state in board.reports:
        text = state.phase.value + (f" {state.error.name}" if state.error else "")
        if seen[-1:] != [text]:
            seen.append(text)
    return seen


def test_an_update_without_faults_tells_each_phase_once() -> None:
    board = updating()
    board.settle()
    assert phases(board) == UPDATE


@pytest.mark.parametrize("how", ["start", "boot"])
@pytest.mark.parametrize(
    ("phase", "seen"),
    [
        (Phase.IDLE, UPDATE),
        (Phase.FETCHING, UPDATE),
        (Phase.APPLYING, ["fetching", "applying", *UPDATE]),
        (Phase.ACTIVATING, UPDATE),
        (Phase.CONFIRMING, UPDATE),
    ],
)
def test_a_board_that_ends_in_any_phase_takes_it_up_again(phase: Phase, seen: list[str], how: str) -> None:
    board = updating()
    if phase is not Phase.IDLE:
        until(board, phase)
    else:
        board.decide(board.queue.popleft(), crash_before=0)
    getattr(board, how)()
    board.settle()
    # A board that dies in `activating`, before the loader is told, tries once more and calls nothing a failure.
    assert phases(board) == seen
    assert on(board, NEW)


@pytest.mark.parametrize(
    ("kind", "fault", "seen"),
    [
        ("refused", "", [*UPDATE[:5], "failed BootFailed"]),
        ("refused", "boot", [*UPDATE[:5], "failed BootFailed"]),
        ("sick", "", [*UPDATE[:6], "confirming ProbeFailed", "failed ProbeFailed"]),
        ("sick", "start", [*UPDATE[:6], "confirming ProbeFailed", "failed ProbeFailed"]),
        ("sick", "boot", [*UPDATE[:6], "confirming ProbeFailed", "failed ProbeFailed"]),
    ],
)
def test_a_bad_image_goes_back_and_says_why_whatever_is_killed_meanwhile(
    kind: str, fault: str, seen: list[str]
) -> None:
    board = updating(NEW | {"rootfs": image(kind, 1, "rootfs")})
    until(board, Phase.ACTIVATING if kind == "refused" else Phase.CONFIRMING)
    if kind == "sick":
        board.go_on()
        board.decide(board.queue.popleft())
    if fault:
        getattr(board, fault)()
    board.settle()
    assert phases(board) == seen
    assert board.slot == "a"
    assert set(board.state.quarantine) == {NEW["kernel"], image(kind, 1, "rootfs")}


@pytest.mark.parametrize("how", ["", "start", "boot"])
@pytest.mark.parametrize(
    ("phase", "seen"),
    [
        (Phase.FETCHING, ["fetching", "waiting Inhibited", *UPDATE]),
        (Phase.ACTIVATING, [*UPDATE[:5], "waiting Inhibited", *UPDATE[4:]]),
    ],
)
def test_what_is_put_off_waits_with_the_reason_and_goes_on_when_it_is_let_through(
    phase: Phase, seen: list[str], how: str
) -> None:
    board = updating()
    until(board, phase)
    board.not_now()
    until(board, Phase.WAITING)
    assert not board.timer, "nothing but what was in the way is waited for"
    if how:
        getattr(board, how)()
    board.settle()
    assert phases(board) == seen
    assert on(board, NEW)


def test_what_is_put_off_leaves_the_running_slot_alone_over_any_power_cut() -> None:
    board = updating()
    until(board, Phase.ACTIVATING)
    for _ in range(20):
        board.not_now()
        until(board, Phase.WAITING)
        board.boot()
        until(board, Phase.ACTIVATING)
        assert (board.slot, board.trial, board.state.attempts) == ("a", False, 0)
    board.settle()
    assert on(board, NEW)


def test_a_newer_release_takes_the_place_of_one_that_is_put_off() -> None:
    board, newer = updating(), {component: image("good", 2, component) for component in COMPONENTS}
    until(board, Phase.ACTIVATING)
    board.not_now()
    until(board, Phase.WAITING)
    board.queue.append(events.Wanted(board.want(newer)))
    board.settle()
    assert on(board, newer)
    assert board.boots == 2, "the older one was never booted"


def test_a_hold_ends_what_is_put_off() -> None:
    board = updating()
    until(board, Phase.ACTIVATING)
    board.not_now()
    until(board, Phase.WAITING)
    board.queue.append(events.Wanted(board.want({}, hold="aborted")))
    board.settle()
    assert board.state.phase is Phase.IDLE
    assert board.slot == "a"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("full", ["fetching", "waiting DiskFull", *UPDATE]),
        ("gone", ["fetching", "waiting BlobWithdrawn", *UPDATE]),
        ("disk", ["fetching", "waiting Storage", *UPDATE]),
    ],
)
def test_a_fetch_that_stopped_is_started_again_after_a_while(fault: str, seen: list[str]) -> None:
    board = updating()
    until(board, Phase.FETCHING)
    board.fetch_ends(fault)
    board.settle()
    assert phases(board) == seen


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("died", ["fetching", "applying", "waiting WorkerDied", *UPDATE]),
        ("full", ["fetching", "applying", "waiting DiskFull", *UPDATE]),
        ("corrupt", ["fetching", "applying", "failed DeltaCorrupt"]),
    ],
)
def test_an_apply_that_failed_is_made_again_only_where_that_can_help(fault: str, seen: list[str]) -> None:
    board = updating()
    until(board, Phase.APPLYING)
    board.apply_ends(fault)
    board.settle()
    assert phases(board) == seen


# --- what the search cannot say ------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_year_is_tried_again_when_there_is_room() -> None:
    board = updating()
    until(board, Phase.FETCHING)
    for _ in range(9000):
        board.fetch_ends("full")
        board.decide(board.queue.popleft())
        assert board.timer <= machine.RETRY_LIMIT
        board.go_on()
        board.go_on()
    board.settle()
    assert on(board, NEW)


def test_long_waits_for_a_blob_do_not_use_up_the_tries_of_its_apply() -> None:
    board = updating()
    for _ in range(20):
        until(board, Phase.FETCHING)
        board.fetch_ends("gone")
        board.go_on()
    until(board, Phase.APPLYING)
    board.apply_ends("died")
    board.settle()
    assert on(board, NEW)


def test_an_apply_that_never_works_ends_as_failed() -> None:
    board = updating()
    for _ in range(machine.ATTEMPTS_LIMIT + 1):
        until(board, Phase.APPLYING)
        board.apply_ends("died")
        board.go_on()
    board.settle()
    assert phases(board)[-1] == "failed WorkerDied"


def test_a_boot_loader_that_never_tells_of_a_fallback_is_not_asked_for_ever() -> None:
    state = State(Phase.ACTIVATING, boot_id="0", slot="a", trial=(Target("rootfs", "v", 1, NEW["rootfs"]),))
    for number in range(100):
        state, asked = machine.step(state, events.Booted(f"b{number}", "a", trial=False, fell_back=False, images={}))
        if effects.Activate() not in asked:
            break
    assert state.phase is Phase.FAILED
    assert number == machine.ATTEMPTS_LIMIT


@pytest.mark.parametrize("phase", [Phase.ACTIVATING, Phase.CONFIRMING])
def test_a_newer_desired_that_came_during_a_failed_trial_is_pursued_after_it(phase: Phase) -> None:
    board = updating(NEW | {"rootfs": image("refused" if phase is Phase.ACTIVATING else "sick", 1, "rootfs")})
    until(board, phase)
    newer = {component: image("good", 2, component) for component in COMPONENTS}
    board.decide(events.Wanted(board.want(newer, full=True)))
    board.settle()
    assert on(board, newer)


def test_a_forged_message_does_not_hide_why_a_board_failed() -> None:
    board = updating()
    until(board, Phase.APPLYING)
    board.apply_ends("corrupt")
    board.settle()
    board.decide(events.Noticed(ForgedMessageError("x")))
    assert board.state.error == ErrorReport("DeltaCorrupt", "model")


def test_a_forged_message_during_a_trial_is_not_taken_for_the_reason_of_the_fallback() -> None:
    board = updating(NEW | {"rootfs": image("refused", 1, "rootfs")})
    until(board, Phase.ACTIVATING)
    board.decide(events.Noticed(ForgedMessageError("x")))
    board.settle()
    assert phases(board)[-1] == "failed BootFailed"


def test_a_desired_that_was_cleared_and_comes_back_unchanged_goes_on() -> None:
    board = updating()
    until(board, Phase.FETCHING)
    board.decide(events.Cleared())
    assert (board.state.phase, board.fetching) == (Phase.IDLE, None)
    assert board.desired
    board.decide(events.Wanted(board.desired))
    board.settle()
    assert on(board, NEW)


def test_a_hold_keeps_what_was_fetched_even_over_a_reboot() -> None:
    board = updating()
    until(board, Phase.APPLYING)
    fetched = set(board.fetched)
    assert fetched
    board.decide(events.Wanted(board.want({}, hold="paused")))
    board.boot()
    board.settle()
    assert board.fetched == fetched


def test_a_withdrawn_blob_that_was_missing_before_does_not_wait_for_ever() -> None:
    board = updating()
    until(board, Phase.FETCHING)
    assert board.fetching
    board.decide(events.FetchStarved(board.fetching.blob, BlobMissingError("x")))
    assert board.state.missing
    board.fetch_ends("gone")
    board.settle()
    assert on(board, NEW)


def test_a_reboot_that_fails_leaves_no_condemned_slot_running() -> None:
    board = updating(NEW | {"rootfs": image("sick", 1, "rootfs")})
    until(board, Phase.CONFIRMING)
    board.probe_ends(passes=False)
    board.decide(board.queue.popleft())
    board.reboot_ends("fails")
    board.settle()
    assert board.slot == "a"
    assert phases(board)[-1] == "failed ProbeFailed"


def test_a_slot_whose_probe_failed_gets_no_second_probe_from_a_kill() -> None:
    board = updating()
    until(board, Phase.CONFIRMING)
    board.probe_ends(passes=False)
    board.decide(board.queue.popleft(), crash_before=0)
    board.settle()
    assert board.slot == "a"
    assert phases(board)[-1] == "failed ProbeFailed"


def test_a_blob_that_is_told_twice_does_not_start_its_apply_again() -> None:
    board = updating()
    until(board, Phase.APPLYING)
    (blob,) = board.fetched
    assert machine.step(board.state, events.Fetched(blob)) == (board.state, ())


@pytest.mark.parametrize("late", [events.Fetched, events.FetchStarved, events.FetchFailed, events.FetchFlows])
def test_late_words_of_a_fetch_do_not_disturb_the_wait_for_another_apply(late: type) -> None:
    board = updating()
    until(board, Phase.APPLYING)
    (blob,) = board.fetched
    board.apply_ends("died")
    board.go_on()
    told = late(blob, BlobMissingError("x")) if late in (events.FetchStarved, events.FetchFailed) else late(blob)
    assert machine.step(board.state, told) == (board.state, ())
    board.settle()
    assert on(board, NEW)


@pytest.mark.parametrize("retry", [0, 1])
def test_a_quarantined_image_is_tried_again_only_when_the_operator_says_so(retry: int) -> None:
    bad = NEW | {"rootfs": image("refused", 1, "rootfs")}
    board = updating(bad)
    board.settle()
    board.reports.clear()
    board.queue.append(events.Wanted(board.want(bad, retry=retry)))
    board.settle()
    assert phases(board) == ([*UPDATE[:5], "failed BootFailed"] if retry else ["failed Quarantined"])


def test_going_back_to_the_running_image_stops_the_apply() -> None:
    board = updating()
    until(board, Phase.APPLYING)
    board.decide(events.Wanted(board.want(dict(FACTORY))))
    assert (board.state.phase, board.applying, board.fetching) == (Phase.IDLE, None, None)


def test_components_that_are_ready_are_forgotten_when_the_board_boots_the_other_slot_by_hand() -> None:
    board = updating()
    until(board, Phase.FETCHING)
    until(board, Phase.APPLYING)
    board.apply_ends()
    board.go_on()
    assert board.state.ready
    board.slots["b"] = dict(FACTORY)
    board.env = BootEnv("b")
    board.boot()
    board.go_on()
    assert board.state.ready == ()
