"""Config in the rollout, rule by rule: confirmed by its digest; failing, quarantined and rolled back as images are."""

from __future__ import annotations

from typing import Any

import pytest
from story import CONFIGS, IMAGES, Story, offers

from edgesync.control.evidence import PENDING_AFTER
from edgesync.control.rollout import DESIRED_LIFE, RENEW_BEFORE
from edgesync.control.standing import (
    Abort,
    Effect,
    Hold,
    Offer,
    Offered,
    Pause,
    RepublishConfig,
    Resume,
    Retry,
    Status,
)
from edgesync.wire.ids import BlobId, DeviceId
from edgesync.wire.messages import ConfigTarget, ErrorReport, Manners, Phase

X, Y, Z = (CONFIGS[name] for name in "XYZ")


def offer(effects: list[Effect]) -> Offered:
    (found,) = [effect.offered for effect in effects if isinstance(effect, Offer)]
    return found


def on_x(*boards: str, **fleet: Any) -> Story:
    """A fleet with image A and config X, confirmed."""
    story = Story(*boards, **fleet)
    story.push("A", config="X")
    for board in boards:
        story.config(board, "idle", "X")
    assert {story.status(board) for board in boards} == {Status.CONFIRMED}
    return story


def test_a_change_of_config_is_offered_at_once_and_needs_no_blob_of_firmware() -> None:
    story = on_x("b1")
    offered = offer(story.push("A", config="Y"))
    assert offered.desired.config == ConfigTarget(Y.sha256, 100)
    assert [target.source for target in offered.desired.targets] == [None]
    assert offered.config_base == X.sha256
    assert not offered.whole


def test_config_is_confirmed_by_its_digest_once_the_board_has_proved_it() -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    story.config("b1", "fetching", "X")
    assert story.status("b1") is Status.ACTING
    story.config("b1", "probing", "Y")
    assert story.status("b1") is Status.ACTIVATED
    story.config("b1", "idle", "Y")
    assert story.status("b1") is Status.CONFIRMED
    assert story.state.phase == "done"


def test_firmware_and_config_of_a_revision_are_confirmed_together() -> None:
    story = on_x("b1")
    story.build(story.push("B", config="Y"))
    story.config("b1", "idle", "Y")
    assert story.status("b1") is Status.ACTING
    story.config("b1", "idle", "X", boot_id="boot-2", images={"root": IMAGES["B"]})
    assert story.status("b1") is Status.ACTING
    story.config("b1", "idle", "Y", boot_id="boot-2", images={"root": IMAGES["B"]})
    assert story.status("b1") is Status.CONFIRMED


def test_a_failed_config_is_in_quarantine_on_that_board_until_another_is_wanted() -> None:
    story = on_x("b1", "b2", "b3", abort_at=1.0)
    story.push("A", config="Y")
    story.config("b2", "idle", "Y")
    story.config("b1", "failed", "X", "ProbeFailed", quarantine=(Y.sha256,))
    assert story.status("b1") is Status.FAILED
    assert story.board("b1").error == ErrorReport("ProbeFailed")
    assert story.board("b1").quarantine == {Y.sha256}
    assert offers(story.wait(7200)) == []
    # The same digest in a later revision is not tried again, and does not count there.
    story.push("A", config="X")
    story.config("b1", "idle", "X")
    assert story.status("b1") is Status.CONFIRMED
    assert "b1" not in offers(story.push("A", config="Y"))
    assert story.status("b1") is Status.FAILED
    assert not story.board("b1").part
    assert "config" in story.board("b1").error.detail  # type: ignore[union-attr]
    assert "b1" in offers(story.push("A", config="Z"))


def test_a_board_that_says_failed_without_naming_the_digest_is_believed_all_the_same() -> None:
    story = on_x("b1", "b2")
    story.push("A", config="Y")
    story.config("b1", "failed", "X", "CheckFailed")
    assert story.board("b1").quarantine == {Y.sha256}


def test_retry_offers_a_failed_config_again_with_a_number_that_grows() -> None:
    story = on_x("b1", "b2")
    story.push("A", config="Y")
    story.config("b2", "idle", "Y")
    story.config("b1", "failed", "X", "ProbeFailed", quarantine=(Y.sha256,))
    offered = offer(story.do(Retry()))
    assert offered.desired.retry > 0
    story.config("b1", "failed", "X", "ProbeFailed", quarantine=(Y.sha256,), version=offered.desired.version - 1)
    assert story.status("b1") is Status.OFFERED
    story.config("b1", "idle", "Y")
    assert story.status("b1") is Status.CONFIRMED


def test_the_abort_threshold_puts_the_failed_config_in_quarantine_for_the_fleet_but_not_the_images() -> None:
    story = on_x("b1", "b2", "b3", abort_at=0.5)
    story.build(story.push("B", config="Y"))
    story.config("b2", "fetching", "X", phase=Phase.FETCHING)
    effects = story.config("b1", "failed", "X", "ProbeFailed", boot_id="boot-2", images={"root": IMAGES["B"]})
    assert story.state.phase == "aborted"
    assert story.state.quarantine == {Y.sha256}
    assert {e.offered.desired.device for e in effects if isinstance(e, Hold)} == {"demo.b2", "demo.b3"}
    # The next revision with the good image and another config goes to everyone.
    assert set(offers(story.push("B", config="Z"))) == {"b1", "b2", "b3"}


def test_a_board_that_fails_before_it_hears_of_the_abort_says_so_and_why() -> None:
    story = on_x("b1", "b2", "b3", abort_at=0.5)
    story.push("A", config="Y")
    story.config("b1", "failed", "X", "ProbeFailed", quarantine=(Y.sha256,))
    assert story.state.phase == "aborted"
    held = story.board("b2").offered
    assert held
    assert held.desired.hold
    story.config("b2", "failed", "X", "CheckFailed", quarantine=(Y.sha256,), version=held.held)
    for _ in range(2):  # and it stays so when the board has heard of the abort, and says no more of it
        assert (story.status("b2"), story.board("b2").error) == (Status.FAILED, ErrorReport("CheckFailed"))
        story.config("b2", "idle", "X", quarantine=(Y.sha256,))
    story.config("b3", "idle", "X")
    assert story.status("b3") is Status.WAITING
    assert story.state.phase == "aborted"
    assert set(offers(story.do(Retry()))) == {"b1", "b2", "b3"}


def test_what_failed_under_an_older_offer_says_nothing_of_the_one_that_was_stopped() -> None:
    story = on_x("b1", "b2", "b3")
    story.push("A", config="Y")
    story.config("b1", "failed", "X", "ProbeFailed", quarantine=(Y.sha256,))
    story.push("A", config="Z")
    story.do(Abort("smoke"))
    story.says("b1", config=story.board("b1").reported.config, version=2)  # type: ignore[union-attr]
    assert (story.status("b1"), story.board("b1").error) == (Status.WAITING, None)


def test_a_failed_image_leaves_the_config_out_of_quarantine() -> None:
    story = on_x("b1", "b2", abort_at=0.1)
    story.build(story.push("B", config="Y"))
    story.config("b1", "waiting", "X", phase=Phase.FAILED, error=ErrorReport("BootFailed"), quarantine=(IMAGES["B"],))
    assert story.state.quarantine == {IMAGES["B"]}


def test_rolling_back_to_a_superseded_config_offers_it_and_to_one_in_fleet_quarantine_says_so() -> None:
    story = on_x("b1", "b2", abort_at=0.1)
    story.push("A", config="Y")
    story.config("b1", "failed", "X", "ProbeFailed")
    assert (story.state.phase, story.state.quarantine) == ("aborted", {Y.sha256})
    story.push("A", config="X")
    story.config("b1", "idle", "X")
    story.config("b2", "idle", "X")
    assert {story.status("b1"), story.status("b2")} == {Status.CONFIRMED}
    assert story.state.quarantine == {Y.sha256}
    assert offers(story.push("A", config="Y")) == []
    errors = {board: story.board(board).error for board in ("b1", "b2")}
    assert "failed before on this board" in errors["b1"].detail  # type: ignore[union-attr]
    assert "failed before on the fleet" in errors["b2"].detail  # type: ignore[union-attr]


def test_silence_in_mid_download_of_config_never_counts_and_after_the_switch_it_does() -> None:
    story = on_x("b1", "b2", "b3", lost_after=3600.0)
    story.push("A", config="Y")
    story.config("b1", "fetching", "X")
    story.config("b2", "probing", "Y")
    story.config("b3", "idle", "Y")
    story.wait(3601)
    assert [story.status(b) for b in ("b1", "b2", "b3")] == [Status.PENDING, Status.LOST, Status.CONFIRMED]
    story.config("b2", "failed", "X", "ProbeFailed")
    assert story.status("b2") is Status.FAILED


def test_a_board_that_reboots_before_it_reads_a_change_of_config_has_activated_nothing() -> None:
    story = on_x("b1", lost_after=3600.0)
    version = offer(story.push("A", config="Y")).desired.version
    story.config("b1", "idle", "X", boot_id="boot-9", version=version - 1)
    assert story.status("b1") is Status.OFFERED
    story.wait(4000)
    assert story.status("b1") is Status.PENDING


def test_a_board_that_checks_in_at_times_is_silent_only_after_its_next_check_in() -> None:
    story = Story("b1")
    story.push("A", config="X", manners=Manners(check_in=6 * 3600))
    story.wait(6 * 3600 + PENDING_AFTER - 60)
    assert story.status("b1") is Status.OFFERED
    story.wait(120)
    assert story.status("b1") is Status.PENDING


def test_a_board_that_has_spent_its_budget_is_awaited_for_a_day() -> None:
    story = on_x("b1")
    story.push("A", config="X", manners=Manners(budget=1000))
    story.says("b1", month=1000)
    story.push("A", config="Y", manners=Manners(budget=1000))
    story.wait(86400 + PENDING_AFTER - 60)
    assert story.status("b1") is Status.OFFERED
    story.wait(120)
    assert story.status("b1") is Status.PENDING


def test_other_manners_are_offered_to_a_confirmed_board_and_take_nothing_from_it() -> None:
    story = on_x("b1")
    offered = offer(story.push("A", config="X", manners=Manners(rate=500)))
    assert offered.desired.manners == Manners(rate=500)
    assert story.status("b1") is Status.CONFIRMED


@pytest.mark.parametrize("name", ["BaseModified", "DeltaCorrupt"])
def test_a_delta_of_config_that_does_not_work_is_followed_by_the_whole_bundle_once(name: str) -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    offered = offer(story.config("b1", "failed", "X", name))
    assert offered.whole
    assert story.board("b1").quarantine == frozenset()
    story.config("b1", "failed", "X", name)
    assert story.status("b1") is Status.FAILED
    assert story.board("b1").quarantine == {Y.sha256}
    # Another attempt, or another config, begins with a delta again.
    assert not offer(story.do(Retry())).whole
    assert offer(story.config("b1", "failed", "X", name)).whole
    story.config("b1", "idle", "Y")
    assert not offer(story.push("A", config="Z")).whole


def test_a_config_that_a_board_had_all_along_is_right_only_once_it_has_read_that_it_shall_keep_it() -> None:
    story = on_x("b1")
    story.build(story.push("B", config="Y"))
    version = offer(story.push("B", config="X")).desired.version
    on_b: dict[str, Any] = {"boot_id": "boot-2", "images": {"root": IMAGES["B"]}}
    # It booted B and may be about to switch to Y.
    story.config("b1", "idle", "X", version=version - 1, **on_b)
    assert story.status("b1") is not Status.CONFIRMED
    story.config("b1", "idle", "X", **on_b)
    assert story.status("b1") is Status.CONFIRMED


def test_a_board_whose_config_is_neither_the_base_nor_the_wanted_one_is_offered_it_anew() -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    assert offer(story.config("b1", "idle", "Z")).config_base == Z.sha256
    # A tree that was lost altogether.
    assert offer(story.config("b1", "idle", "")).config_base == ""


def test_nothing_is_offered_while_a_switched_config_is_being_probed() -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    story.config("b1", "probing", "Y")
    assert offers(story.push("A", config="Z")) == []
    assert offer(story.config("b1", "failed", "X", "ProbeFailed")).config_base == X.sha256


def test_two_pushes_and_a_push_back_before_the_board_answers_leave_the_last_in_force() -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    story.push("A", config="Z")
    offered = offer(story.push("A", config="X"))
    assert (offered.desired.config, offered.new_config) == (ConfigTarget(X.sha256, 100), "")
    story.config("b1", "idle", "X", version=offered.desired.version - 1)
    assert story.status("b1") is Status.OFFERED
    story.config("b1", "idle", "X")
    assert story.status("b1") is Status.CONFIRMED


def test_pause_and_abort_are_about_config_too() -> None:
    story = on_x("b1")
    story.do(Pause())
    assert story.push("A", config="Y") == []
    assert offers(story.do(Resume())) == ["b1"]
    story.config("b1", "fetching", "X")
    (hold,) = story.do(Abort("smoke"))
    assert isinstance(hold, Hold)
    assert (hold.offered.desired.config, hold.offered.desired.targets) == (None, ())
    # It came too late: the board had switched.
    story.config("b1", "idle", "Y")
    assert story.status("b1") is Status.CONFIRMED


def test_drift_that_is_only_reported_takes_no_confirmation_back() -> None:
    story = on_x("b1")
    assert story.config("b1", "idle", "X", drift=2) == []
    assert story.status("b1") is Status.CONFIRMED


def test_a_confirmed_board_that_loses_its_config_is_brought_back_to_it() -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    story.config("b1", "idle", "Y")
    offered = offer(story.config("b1", "idle", ""))
    assert (offered.desired.config, offered.config_base) == (ConfigTarget(Y.sha256, 100), "")
    assert story.status("b1") is Status.OFFERED


def test_a_board_whose_agent_knows_no_config_gets_its_firmware_and_is_then_parked() -> None:
    story = Story("b1", "b2")
    story.build(story.push("B", config="X"))
    story.config("b2", "idle", "X", boot_id="boot-2", images={"root": IMAGES["B"]})
    story.confirms("b1", "B")
    assert story.status("b1") is Status.ACTING
    story.wait(PENDING_AFTER)
    story.confirms("b1", "B")
    assert story.board("b1").error.name == "ConfigIgnored"  # type: ignore[union-attr]
    assert story.board("b1").parked
    assert story.state.phase == "running"
    story.config("b1", "idle", "X", boot_id="boot-3", images={"root": IMAGES["B"]})
    assert story.state.phase == "done"


def test_a_fleet_that_stops_managing_config_leaves_what_is_there() -> None:
    story = on_x("b1")
    assert offer(story.push("A")).desired.config is None
    story.config("b1", "idle", "X")
    assert story.status("b1") is Status.CONFIRMED


def test_a_blob_of_config_that_a_board_misses_is_published_again() -> None:
    story = on_x("b1")
    story.push("A", config="Y")
    blob = BlobId("0" * 32)
    assert story.config("b1", "waiting", "X", missing=(blob,)) == [RepublishConfig(DeviceId("demo.b1"), blob)]


def test_what_is_signed_anew_for_a_confirmed_board_needs_no_delta_any_more() -> None:
    story = on_x("b1")
    offered = offer(story.wait(DESIRED_LIFE - RENEW_BEFORE))
    assert offered.new_config == ""
    assert story.status("b1") is Status.CONFIRMED


def test_config_goes_by_waves() -> None:
    story = on_x("b1", "b2", canaries=1)
    assert offers(story.push("A", config="Y")) == ["b1"]
    assert offers(story.config("b1", "idle", "Y")) == ["b2"]
