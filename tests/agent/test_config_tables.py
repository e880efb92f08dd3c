"""What the server sees of a config that is killed, refused, put off or taken back, and what is rare in a search."""

from __future__ import annotations

import pytest
from model_config import Board, bundle, on

from edgesync.agent import events as agent_events
from edgesync.agent.events import Cleared, Wanted
from edgesync.agent.tree import effects, events, machine
from edgesync.agent.tree.machine import BOOTS_LIMIT, STARTS_LIMIT
from edgesync.agent.tree.state import State
from edgesync.wire.errors import BaseModifiedError, DiskFullError
from edgesync.wire.messages import ConfigPhase, ErrorReport

OLD, NEW, BAD, REFUSED = bundle("good", 1), bundle("good", 2), bundle("sick", 3), bundle("refused", 4)


def settled(firmware: int = 1) -> Board:
    """A board on which OLD has proved itself."""
    board = Board(slots=[firmware, firmware])
    board.boot()
    board.queue.append(Wanted(board.want(OLD)))
    board.settle()
    assert on(board, OLD)
    board.reports.clear()
    return board


def until(board: Board, phase: ConfigPhase) -> None:
    """Life goes on until the board is in this phase and its effects are under way."""
    for _ in range(40):
        if board.state.phase is phase and not board.queue:
            return
        assert board.go_on()
    raise AssertionError(f"never {phase}: {board.state}")


def phases(board: Board) -> list[str]:
    """What the server sees: the phases of the reports, with the name of the error; the same again is one."""
    seen: list[str] = []
    for state in board.reports:
        text = state.phase.value + (f" {state.error.name}" if state.error else "")
        if seen[-1:] != [text]:
            seen.append(text)
    return seen


def test_a_change_without_faults_asks_for_one_report_that_may_wait_and_one_that_may_not() -> None:
    board = settled()
    board.decide(Wanted(board.want(NEW)))
    asked: list[float] = []
    while board.go_on():
        pass
    board.judge = lambda _before, _event, effects_: asked.extend(
        effect.within for effect in effects_ if isinstance(effect, effects.Report)
    )
    board.decide(Wanted(board.want(OLD)))
    board.settle()
    assert asked == [machine.LINGER, 0.0]
    assert on(board, OLD)


@pytest.mark.parametrize("how", ["start", "boot"])
@pytest.mark.parametrize("phase", [ConfigPhase.FETCHING, ConfigPhase.APPLYING, ConfigPhase.PROBING])
def test_a_board_that_ends_in_any_phase_takes_it_up_again(phase: ConfigPhase, how: str) -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    until(board, phase)
    getattr(board, how)()
    board.settle()
    assert on(board, NEW)
    assert not board.state.quarantine


@pytest.mark.parametrize("how", ["", "start", "boot"])
def test_a_bad_config_goes_back_and_says_why_whatever_is_killed_meanwhile(how: str) -> None:
    board = settled()
    board.queue.append(Wanted(board.want(BAD)))
    until(board, ConfigPhase.PROBING)
    while board.returning is None:
        assert board.go_on()
    if how:
        getattr(board, how)()
    board.settle()
    assert phases(board)[-1] == "failed ProbeFailed"
    assert (board.link, board.state.current, board.state.quarantine) == (OLD, OLD, (BAD,))
    assert BAD not in board.bundles | board.trees, "nothing is kept of it"


def test_a_refused_config_is_never_in_force_and_is_not_tried_again_by_itself() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(REFUSED)))
    board.settle()
    assert phases(board) == ["fetching", "failed CheckFailed"]
    board.boot()
    board.queue.append(Wanted(board.want(REFUSED)))
    board.settle()
    assert phases(board)[-1] == "failed Quarantined"
    assert board.link == OLD


@pytest.mark.parametrize("retry", [0, 1])
def test_what_failed_is_tried_again_only_when_the_operator_says_so(retry: int) -> None:
    board = settled()
    board.queue.append(Wanted(board.want(BAD)))
    board.settle()
    board.queue.append(Wanted(board.want(BAD, retry=retry)))
    board.settle()
    assert phases(board)[-1] == ("failed ProbeFailed" if retry else "failed Quarantined")
    assert board.link == OLD


def test_a_trial_that_sees_too_many_boots_goes_back() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    until(board, ConfigPhase.PROBING)
    for number in range(BOOTS_LIMIT + 1):
        assert board.state.back is None, f"after {number} boots"
        board.boot()
        board.go_on()
    board.settle()
    assert (board.link, board.state.quarantine) == (OLD, (NEW,))
    assert board.state.error
    assert board.state.error.detail == f"the board booted {BOOTS_LIMIT + 1} times during the trial"


def test_an_agent_that_is_killed_during_a_trial_is_no_boot() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    until(board, ConfigPhase.PROBING)
    for _ in range(STARTS_LIMIT):
        board.start()
        board.go_on()
    board.settle()
    assert on(board, NEW)


def test_a_reload_that_ends_the_agent_each_time_ends_the_trial_and_is_not_run_on_the_way_back_for_ever() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    until(board, ConfigPhase.PROBING)
    for number in range(STARTS_LIMIT + 1):
        assert board.state.back is None, f"after {number} starts"
        board.start()
        board.go_on()
    assert board.state.error
    assert board.state.error.detail == f"the agent began {STARTS_LIMIT + 1} times during the trial"
    for number in range(STARTS_LIMIT + 1):
        assert not board.quiet, f"after {number} starts on the way back"
        board.start()
        board.go_on()
    assert board.quiet
    board.settle()
    assert (board.link, board.state.quarantine, board.state.starts) == (OLD, (NEW,), 0)


def test_a_newer_config_that_came_during_a_trial_is_pursued_after_it_whatever_its_outcome() -> None:
    for tried in (BAD, NEW):
        board = settled()
        board.queue.append(Wanted(board.want(tried)))
        until(board, ConfigPhase.PROBING)
        third = bundle("good", 9)
        board.decide(Wanted(board.want(third, full=True)))
        assert board.attempting == tried
        board.settle()
        assert on(board, third)


def test_two_pushes_within_a_second_make_one_switch() -> None:
    board, tried = settled(), []
    board.judge = lambda _before, _event, asked: tried.extend(e.config for e in asked if isinstance(e, effects.Try))
    board.queue.append(Wanted(board.want(NEW)))
    until(board, ConfigPhase.APPLYING)
    third = bundle("good", 9)
    board.queue.append(Wanted(board.want(third)))
    board.settle()
    assert on(board, third)
    assert tried == [third]


def test_a_hold_stops_what_is_under_way_and_leaves_a_trial_to_its_outcome() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    until(board, ConfigPhase.FETCHING)
    board.queue.append(Wanted(board.want(None, hold="aborted")))
    board.settle()
    assert (board.state.phase, board.link, board.fetching) == (ConfigPhase.IDLE, OLD, None)
    board.queue.append(Wanted(board.want(BAD)))
    until(board, ConfigPhase.PROBING)
    board.decide(Wanted(board.want(None, hold="aborted")))
    board.settle()
    assert board.link == OLD
    assert BAD in board.state.quarantine


def test_a_cleared_desired_state_stops_a_fetch_and_the_same_again_goes_on() -> None:
    board = settled()
    wanted = board.want(NEW)
    board.queue.append(Wanted(wanted))
    until(board, ConfigPhase.FETCHING)
    board.queue.append(Cleared())
    board.settle()
    assert (board.state.phase, board.link) == (ConfigPhase.IDLE, OLD)
    board.queue.append(Wanted(wanted))
    board.settle()
    assert on(board, NEW)


def test_config_that_is_not_managed_any_more_stays_as_it_is() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(None)))
    board.settle()
    board.boot()
    board.settle()
    assert (board.link, board.state.phase) == (OLD, ConfigPhase.IDLE)
    assert OLD in board.bundles


# --- with firmware -------------------------------------------------------------------------------------------------


def test_config_waits_for_the_firmware_that_it_requires_and_for_that_to_prove_itself() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW, requires="fw >= 2")))
    board.settle()
    assert phases(board) == ["waiting Requirement"]
    assert board.state.error
    assert board.state.error.detail.startswith("fw >= 2: 1 runs here")
    board.slots[1] = 2
    board.boot(1, trial=True)
    board.go_on()
    assert board.state.phase is ConfigPhase.WAITING, "firmware on trial"
    board.slots[0] = 2  # what the server says of versions is about what it wants
    board.queue.append(Wanted(board.want(NEW, requires="fw >= 2")))
    board.settle()
    assert on(board, NEW)


def upgraded() -> Board:
    """A board whose firmware 2 in slot 1 has NEW, which requires it, and whose firmware 1 had OLD."""
    board = settled()
    board.slots[1] = 2
    board.boot(1)
    board.slots[0] = 2
    board.queue.append(Wanted(board.want(NEW, requires="fw >= 2")))
    board.settle()
    board.slots[0] = 1
    assert on(board, NEW)
    board.reports.clear()
    return board


def test_firmware_that_comes_back_brings_its_config_back_and_condemns_nothing() -> None:
    board = upgraded()
    board.boot(0)
    board.settle()
    assert (board.link, board.state.quarantine) == (OLD, ())
    assert phases(board)[-1] == "waiting Requirement", "the server still wants the new one"
    board.boot(1)
    board.settle()
    assert on(board, NEW)


def test_firmware_that_comes_back_during_a_trial_takes_the_trial_back() -> None:
    board = upgraded()
    third = bundle("good", 9)
    board.slots[0] = 2
    board.queue.append(Wanted(board.want(third, requires="fw >= 2")))
    until(board, ConfigPhase.PROBING)
    board.attempt_switches()
    board.slots[0] = 1
    board.boot(0)
    board.settle()
    assert (board.link, board.state.quarantine) == (OLD, ())


def test_firmware_that_was_never_proved_with_a_config_leaves_the_one_in_force() -> None:
    board = upgraded()
    board.slots[0] = 7
    board.boot(0)
    board.settle()
    assert board.link == NEW


# --- a disk that fails ---------------------------------------------------------------------------------------------


def test_going_back_is_tried_until_it_works() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(BAD)))
    until(board, ConfigPhase.PROBING)
    while board.returning is None:
        assert board.go_on()
    for _ in range(200):
        board.return_ends("full")
        board.go_on()
        assert board.timer
        board.go_on()
        board.go_on()
    board.settle()
    assert (board.link, phases(board)[-1]) == (OLD, "failed ProbeFailed")


def test_a_board_with_nothing_left_to_go_back_to_stays_and_says_so_and_takes_the_next_good_one() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(BAD)))
    until(board, ConfigPhase.PROBING)
    board.attempt_switches()
    board.go_on()
    board.bundles.discard(OLD)
    board.trees.discard(OLD)
    board.settle()
    assert (board.link, phases(board)[-1]) == (BAD, "failed BaseModified")
    board.look()
    board.settle()
    assert phases(board)[-1] == "failed BaseModified", "it is not taken for satisfied"
    board.drifted = True
    board.look()
    board.go_on()
    assert not board.healing, "what failed is not healed towards"
    board.queue.append(Wanted(board.want(NEW, full=True)))
    board.settle()
    assert on(board, NEW)


def test_a_bundle_that_rotted_is_asked_for_again_with_the_next_desired_state() -> None:
    board = settled()
    board.bundles.discard(OLD)
    board.look()
    board.settle()
    assert on(board, OLD), "its blob is still there"
    board.queue.append(Wanted(board.want(OLD)))  # as the server says it once the board has it: without a blob
    board.settle()
    board.bundles.discard(OLD)
    board.look()
    board.settle()
    assert (phases(board)[-1], board.state.current, board.link) == ("failed BaseModified", "", OLD)
    board.queue.append(Wanted(board.want(OLD, full=True)))
    board.settle()
    assert on(board, OLD)


def test_the_first_config_that_fails_leaves_a_board_without_config() -> None:
    board = Board()
    board.boot()
    board.queue.append(Wanted(board.want(BAD)))
    board.settle()
    assert (board.link, phases(board)[-1]) == ("", "failed ProbeFailed")


def test_a_journal_that_was_lost_takes_what_is_in_force_for_proved() -> None:
    board = settled()
    board.state = State()
    board.stored = Board().stored
    board.start()
    board.settle()
    assert board.state.good == board.state.current == OLD
    board.queue.append(Wanted(board.want(BAD)))
    board.settle()
    assert board.link == OLD


def test_a_link_that_someone_moved_is_moved_back_and_nothing_is_tried() -> None:
    board = settled()
    board.link = ""
    board.look()
    board.settle()
    assert on(board, OLD)
    assert phases(board)[-1] == "idle"


def test_drift_is_told_and_then_told_to_be_healed() -> None:
    board = settled()
    board.drifted = True
    board.look()
    board.settle()
    assert [state.drift for state in board.reports] == [1, 0]
    assert not board.drifted


def test_drift_that_is_only_to_be_reported_stays_and_is_told_once() -> None:
    board = settled()
    for _ in range(3):
        board.decide(events.Drifted(OLD, 2, heal=False))
    assert [state.drift for state in board.reports] == [2]
    assert not board.healing
    board.decide(events.Drifted(OLD, 0, heal=False))
    assert [state.drift for state in board.reports] == [2, 0]


def test_a_disk_that_is_full_for_a_year_is_tried_again_when_there_is_room() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    for _ in range(9000):
        until(board, ConfigPhase.APPLYING)
        board.prepare_ends("full")
        board.decide(board.queue.popleft())
    board.settle()
    assert on(board, NEW)


def test_work_that_never_succeeds_ends_as_failed() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    for _ in range(machine.ATTEMPTS_LIMIT + 1):
        until(board, ConfigPhase.APPLYING)
        board.prepare_ends("died")
        board.go_on()
    board.settle()
    assert phases(board)[-1] == "failed WorkerDied"


@pytest.mark.parametrize("late", [events.Prepared(NEW), events.Switched(NEW), events.Proved(NEW), events.WentBack(NEW)])
def test_late_words_of_stopped_work_change_nothing(late: events.Event) -> None:
    board = settled()
    before = board.state
    assert machine.step(before, late) == (before, ())
    assert machine.step(before, events.Disproved(NEW, DiskFullError("x"))) == (before, ())
    assert machine.step(before, events.GoBackFailed(BaseModifiedError("x"))) == (before, ())
    assert machine.step(before, agent_events.PutOff(None, DiskFullError("x"))) == (before, ())


def test_what_says_not_now_is_told_and_waited_for_without_a_timer() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    until(board, ConfigPhase.APPLYING)
    board.prepare_ends()
    board.gate_ends(opens=False)
    board.go_on()
    assert (board.state.phase, board.state.error) == (ConfigPhase.WAITING, ErrorReport("Inhibited", "model"))
    assert board.link == OLD
    assert not board.timer
    board.settle()
    assert on(board, NEW)


def test_a_bundle_that_is_kept_and_rotten_is_fetched_again_by_the_source_that_came_with_it() -> None:
    board = settled()
    board.queue.append(Wanted(board.want(NEW)))
    board.settle()
    board.queue.append(Wanted(board.want(OLD)))  # kept, as the tree before
    until(board, ConfigPhase.APPLYING)
    assert board.fetching is None
    board.bundles.discard(OLD)
    board.settle()
    assert on(board, OLD)


def test_the_tree_before_stays_for_its_readers_and_the_one_before_that_does_not() -> None:
    board = settled()
    third = bundle("good", 9)
    for config in (NEW, third):
        board.slots = [board.slots[0] + 1] * 2  # other firmware each time, so that no pair keeps them
        board.boot(0)
        board.queue.append(Wanted(board.want(config)))
        board.settle()
        assert on(board, config)
    assert board.state.previous == NEW
    board.slots = [9, 9]
    board.boot(0)
    board.queue.append(Wanted(board.want(bundle("good", 10))))
    board.settle()
    board.slots = [10, 10]
    board.boot(0)
    board.queue.append(Wanted(board.want(bundle("good", 11))))
    board.settle()
    assert board.state.previous == bundle("good", 10)
    assert not {OLD, NEW} & (board.trees | board.bundles)


def test_a_config_that_is_written_anew_and_fails_is_not_left_for_nothing() -> None:
    board = settled()
    board.bundles.discard(OLD)
    board.look()
    until(board, ConfigPhase.PROBING)
    board.attempt_switches()
    board.attempt_ends(passes=False)
    board.settle()
    assert (board.link, phases(board)[-1]) == (OLD, "failed ProbeFailed")
    assert board.state.quarantine == ()
    assert board.state.back is None


def test_a_config_whose_firmware_is_not_there_is_no_pair_with_the_one_that_is() -> None:
    board = upgraded()
    board.slots[0] = 7  # never proved with any config, so the one in force stays
    board.boot(0)
    board.settle()
    assert board.link == NEW
    assert all(pair.images != board.state.images for pair in board.state.pairs)


def test_each_trial_has_boots_of_its_own() -> None:
    board = settled()
    for config in (NEW, bundle("good", 9)):
        board.queue.append(Wanted(board.want(config)))
        until(board, ConfigPhase.PROBING)
        for _ in range(BOOTS_LIMIT):
            board.boot()
            board.go_on()
        board.settle()
        assert on(board, config)
