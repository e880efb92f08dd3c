"""The rollout's rules one by one, each as a short story of events."""

from __future__ import annotations

from dataclasses import replace

from story import IMAGES, Story, offers

from edgesync.control import rollout
from edgesync.control.evidence import PENDING_AFTER
from edgesync.control.planner import BlobKey
from edgesync.control.rollout import DESIRED_LIFE, RENEW_BEFORE
from edgesync.control.standing import (
    Abort,
    BlobGone,
    EnsureBlob,
    Forget,
    Hold,
    Listening,
    NewRevision,
    Offer,
    Pause,
    Republish,
    Resume,
    Retry,
    Status,
)
from edgesync.control.types import FailurePolicy
from edgesync.wire.ids import BlobId, DeviceId
from edgesync.wire.messages import ErrorReport, Phase


def test_twelve_hundred_boards_on_one_base_ask_for_one_blob_and_get_one_offer_each() -> None:
    story = Story(*(f"b{n}" for n in range(1200)))
    wanted = story.push("B")
    assert wanted == [EnsureBlob(BlobKey(IMAGES["B"], IMAGES["A"]))]
    assert len(offers(story.build(wanted))) == 1200


def test_the_rest_waits_until_the_canary_has_proved_itself() -> None:
    story = Story("b1", "b2", canaries=1)
    assert offers(story.build(story.push("B"))) == ["b1"]
    story.says("b1", phase=Phase.FETCHING)
    story.says("b1", phase=Phase.CONFIRMING, boot_id="boot-2", images={"root": IMAGES["B"]}, confirmed=False)
    assert story.status("b1") is Status.ACTIVATED
    assert story.status("b2") is Status.WAITING
    assert offers(story.confirms("b1", "B")) == ["b2"]
    story.says("b2", phase=Phase.FETCHING)
    story.confirms("b2", "B")
    assert story.state.phase == "done"


def test_a_canary_that_waits_for_memory_keeps_the_next_wave_closed_until_it_has_proved_itself() -> None:
    story = Story("b1", "b2", canaries=1)
    story.build(story.push("B"))
    short = ErrorReport("MemoryShort", "95 % of the machine is used")
    assert offers(story.says("b1", phase=Phase.WAITING, error=short)) == []
    assert offers(story.wait(60)) == []
    assert (story.status("b2"), story.state.open_waves) == (Status.WAITING, 1)
    story.says("b1", phase=Phase.FETCHING)
    assert offers(story.confirms("b1", "B")) == ["b2"]


def test_a_board_that_already_runs_it_is_confirmed_at_once_and_gets_one_desired_without_sources() -> None:
    story = Story("b1")
    (offered,) = [b.offered for b in story.state.boards.values()]
    assert story.status("b1") is Status.CONFIRMED
    assert offered is not None
    assert [t.source for t in offered.desired.targets] == [None]


def test_a_wave_whose_boards_are_all_silent_opens_nothing_and_one_that_answers_is_enough() -> None:
    story = Story("b1", "b2", "b3", canaries=2)
    story.build(story.push("B"))
    story.wait(PENDING_AFTER + 1)
    assert (story.status("b1"), story.status("b2")) == (Status.PENDING, Status.PENDING)
    assert story.state.open_waves == 1
    story.confirms("b1", "B")
    assert story.state.open_waves == 2


def test_silent_before_activation_never_counts_and_silent_after_it_does() -> None:
    story = Story("b1", "b2", "b3", lost_after=3600.0)
    story.build(story.push("B"))
    story.confirms("b1", "B")
    story.says("b2", phase=Phase.ACTIVATING)
    story.says("b3", phase=Phase.FETCHING)
    story.wait(3601)
    assert [story.status(b) for b in ("b1", "b2", "b3")] == [Status.CONFIRMED, Status.LOST, Status.PENDING]
    story.confirms("b2", "B")
    assert story.status("b2") is Status.CONFIRMED


def test_silence_is_not_measured_while_the_broker_is_away() -> None:
    story = Story("b1", lost_after=3600.0)
    story.build(story.push("B"))
    story.says("b1", phase=Phase.ACTIVATING)
    story.do(Listening(on=False))
    story.wait(10 * 3600)
    assert story.status("b1") is Status.ACTIVATED
    story.do(Listening(on=True))
    story.wait(3500)
    assert story.status("b1") is Status.ACTIVATED
    story.wait(200)
    assert story.status("b1") is Status.LOST


def test_the_abort_threshold_holds_the_others_and_quarantines_the_image_for_the_fleet() -> None:
    story = Story("b1", "b2", "b3", "b4", abort_at=0.3)
    story.build(story.push("B"))
    for board in ("b1", "b2", "b3"):
        story.says(board, phase=Phase.FETCHING)
    story.confirms("b1", "B")
    effects = story.says("b2", phase=Phase.FAILED, error=ErrorReport("BootFailed"), quarantine=(IMAGES["B"],))
    assert story.state.phase == "aborted"
    assert story.state.quarantine == {IMAGES["B"]}
    assert {e.offered.desired.device for e in effects if isinstance(e, Hold)} == {"demo.b3", "demo.b4"}
    assert story.status("b1") is Status.CONFIRMED
    # Another commit with the same image does not bring it back; another image goes on.
    story.push("A")
    assert offers(story.build(story.push("B"))) == []
    assert story.status("b4") is Status.FAILED
    assert set(offers(story.build(story.push("C")))) >= {"b2", "b4"}


def test_retry_lifts_quarantine_with_a_number_that_grows() -> None:
    story = Story("b1")
    story.build(story.push("B"))
    story.says("b1", phase=Phase.FAILED, error=ErrorReport("BootFailed"), quarantine=(IMAGES["B"],))
    assert story.state.phase == "aborted"
    effects = story.do(Retry())
    (offer,) = [e for e in effects if isinstance(e, Offer)]
    assert offer.offered.desired.retry > 0
    # An old report that still tells of the quarantine does not bring it back.
    story.says("b1", phase=Phase.FAILED, quarantine=(IMAGES["B"],), version=offer.offered.desired.version - 1)
    assert story.status("b1") is Status.OFFERED
    assert not story.state.boards[DeviceId("demo.b1")].quarantine


def test_the_right_digests_in_the_boot_of_the_offer_confirm_nothing() -> None:
    story = Story("b1")
    story.build(story.push("B"))
    story.says("b1", images={"root": IMAGES["B"]}, boot_id="boot-1")
    assert story.status("b1") is Status.ACTING
    story.says("b1", images={"root": IMAGES["B"]}, boot_id="boot-2", confirmed=False)
    assert story.status("b1") is Status.ACTIVATED
    story.says("b1", images={"root": IMAGES["B"]}, boot_id="boot-2")
    assert story.status("b1") is Status.CONFIRMED


def test_a_newer_revision_stops_a_board_that_fetches_what_is_no_longer_wanted() -> None:
    story = Story("b1", "b2", canaries=1)
    story.build(story.push("B"))
    story.confirms("b1", "B")
    story.says("b2", phase=Phase.FETCHING)
    effects = story.push("C")
    assert [e.offered.desired.device for e in effects if isinstance(e, Hold)] == ["demo.b2"]


def test_a_board_whose_images_do_not_change_keeps_its_desired_state() -> None:
    story = Story("b1")
    story.build(story.push("B"))
    story.says("b1", phase=Phase.FETCHING)
    assert offers(story.push("B")) == []
    assert story.status("b1") is Status.ACTING
    story.confirms("b1", "B")
    assert story.state.phase == "done"


def test_pause_outlives_a_commit_and_resume_lets_it_go() -> None:
    story = Story("b1")
    story.do(Pause())
    assert offers(story.push("B")) == []
    assert offers(story.build(story.do(Resume()))) == ["b1"]


def test_a_modified_base_gets_the_full_image_if_the_policy_says_so() -> None:
    story = Story("b1", failure=FailurePolicy("full", 1000))
    story.build(story.push("B"))
    wanted = story.says("b1", phase=Phase.FAILED, error=ErrorReport("BaseModified"))
    assert wanted == [EnsureBlob(BlobKey(IMAGES["B"]))]
    (offer,) = [e for e in story.build(wanted) if isinstance(e, Offer)]
    assert offer.offered.desired.targets[0].source.kind == "full"  # type: ignore[union-attr]
    assert story.state.phase == "running"


def test_a_modified_base_waits_without_counting_or_fails_as_the_policy_says() -> None:
    for policy, status, phase in (("wait", Status.WAITING, "running"), ("fail", Status.FAILED, "aborted")):
        story = Story("b1", failure=FailurePolicy(policy))  # type: ignore[arg-type]
        story.build(story.push("B"))
        story.says("b1", phase=Phase.FAILED, error=ErrorReport("BaseModified"))
        assert (story.status("b1"), story.state.phase) == (status, phase)


def test_a_board_that_changed_its_base_meanwhile_is_planned_again() -> None:
    story = Story("b1")
    story.build(story.push("B"))
    assert story.says("b1", images={"root": IMAGES["C"]}) == [EnsureBlob(BlobKey(IMAGES["B"], IMAGES["C"]))]


def test_versions_count_above_what_a_board_has_reported() -> None:
    story = Story("b1")
    effects = story.says("b1", version=500)
    assert [e.offered.desired.version for e in effects if isinstance(e, Offer)] == [501]


def test_a_board_that_leaves_the_fleet_is_forgotten() -> None:
    story = Story("b1", "b2")
    assert Forget(DeviceId("demo.b2")) in story.push("A", only=1)
    assert list(story.state.boards) == ["demo.b1"]


def test_a_blob_that_a_board_misses_is_published_again_and_a_lost_one_is_made_again() -> None:
    story = Story("b1")
    story.build(story.push("B"))
    (blob,) = story.state.boards[DeviceId("demo.b1")].offered.blobs  # type: ignore[union-attr]
    assert story.says("b1", phase=Phase.WAITING, missing=(blob, BlobId("0" * 32))) == [Republish(blob)]
    key = BlobKey(IMAGES["B"], IMAGES["A"])
    assert story.do(BlobGone(key)) == [EnsureBlob(key)]


def test_a_desired_state_is_signed_anew_before_it_expires_and_nobody_begins_anew() -> None:
    story = Story("b1")
    story.build(story.push("B"))
    story.says("b1", phase=Phase.FETCHING)
    effects = story.wait(DESIRED_LIFE - RENEW_BEFORE)
    (offer,) = [e for e in effects if isinstance(e, Offer)]
    assert offer.offered.expires > story.now + RENEW_BEFORE
    story.says("b1", phase=Phase.APPLYING, version=offer.offered.desired.version - 1)
    assert story.status("b1") is Status.ACTING


def test_an_operator_aborts_what_runs_and_nothing_else() -> None:
    story = Story("b1")
    assert story.do(Abort("no")) == []
    assert story.state.phase == "done"
    story.build(story.push("B"))
    (hold,) = story.do(Abort("smoke"))
    assert isinstance(hold, Hold)
    assert hold.offered.desired.hold == "aborted: smoke"


def test_a_wave_that_cannot_succeed_any_more_fails_the_rollout_and_recalls_nothing() -> None:
    story = Story("b1", "b2", "b3", canaries=2, abort_at=0.9)
    story.build(story.push("B"))
    story.says("b2", phase=Phase.FETCHING)
    effects = story.says("b1", phase=Phase.FAILED, error=ErrorReport("BootFailed"))
    assert effects == []
    assert story.state.phase == "failed"
    assert story.status("b2") is Status.ACTING


def test_the_state_survives_without_its_spec() -> None:
    story = Story("b1")
    wanted = story.push("B")
    kept = replace(story.state, spec=None, listening=None)
    state, effects = rollout.step(kept, NewRevision(story.state.spec), story.now)  # type: ignore[arg-type]
    assert effects == wanted
    assert state.boards == story.state.boards
