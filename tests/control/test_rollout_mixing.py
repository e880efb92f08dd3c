"""Mixed deltas in a rollout: for boards that have their coder, and whatever goes wrong there ends in the other one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import IMAGES, Story, offers

from edgesync.control.planner import MIXED_ERRORS, BlobKey
from edgesync.control.standing import Abort, EnsureBlob, Hold, Offer, Pause, Resume, Retry, Status
from edgesync.control.types import FailurePolicy
from edgesync.wire.messages import ErrorReport, Phase

DELTA, MIXED = BlobKey(IMAGES["B"], IMAGES["A"]), BlobKey(IMAGES["B"], IMAGES["A"], mixed=True)
MIXES: dict[str, Any] = {"mixing": True}
BASE_GONE = {"phase": Phase.FAILED, "error": ErrorReport("BaseModified")}


def corrupt(name: str = "DeltaCorrupt") -> dict[str, Any]:
    return {"phase": Phase.FAILED, "error": ErrorReport(name, "segment 3")}


def sent(story: Story, device: str) -> BlobKey:
    """What the board is sent by its desired state in force."""
    offered = story.board(device).offered
    assert offered
    (blob,) = offered.blobs
    return next(key for key, made in story.state.blobs.items() if getattr(made, "blob", "") == blob)


def offered_mixed(**fleet: Any) -> Story:
    """A board that has the coder, and is offered B as a mixed delta."""
    story = Story("b1", mixing=True, **fleet)
    story.says("b1", **MIXES)
    assert offers(story.build(story.push("B"))) == ["b1"]
    assert sent(story, "b1") == MIXED
    return story


def test_boards_with_and_without_the_coder_each_get_their_own_delta() -> None:
    story = Story("b1", "b2", "b3", mixing=True)
    story.says("b1", **MIXES)
    story.says("b2", plain=True)
    wanted = story.push("B")
    assert {effect.key for effect in wanted if isinstance(effect, EnsureBlob)} == {DELTA, MIXED}
    story.build(wanted)
    assert [sent(story, device) for device in ("b1", "b2", "b3")] == [MIXED, DELTA, DELTA]
    for device in ("b1", "b2", "b3"):
        story.confirms(device, "B")
        assert story.status(device) is Status.CONFIRMED


def test_a_server_without_the_coder_makes_no_mixed_delta() -> None:
    story = Story("b1")
    story.says("b1", **MIXES)
    assert story.push("B") == [EnsureBlob(DELTA)]


@pytest.mark.parametrize("name", sorted(MIXED_ERRORS))
@pytest.mark.parametrize("policy", ["wait", "fail"])
def test_a_mixed_delta_that_fails_on_a_board_is_followed_by_the_other_one_and_then_by_the_policy(
    name: str, policy: Any
) -> None:
    story = offered_mixed(failure=FailurePolicy(policy))
    wanted = story.says("b1", **MIXES, **corrupt(name))
    assert wanted == [EnsureBlob(DELTA)]
    assert offers(story.build(wanted)) == ["b1"]
    assert sent(story, "b1") == DELTA
    assert story.board("b1").quarantine == frozenset()
    story.says("b1", **MIXES, **corrupt())
    assert story.status("b1") is (Status.WAITING if policy == "wait" else Status.FAILED)
    assert story.board("b1").error == corrupt()["error"]
    assert story.board("b1").quarantine == frozenset()


def test_a_base_that_somebody_wrote_into_needs_no_other_delta() -> None:
    story = offered_mixed()
    assert story.says("b1", **MIXES, **BASE_GONE) == []
    assert story.status("b1") is Status.WAITING


def test_the_next_release_and_a_retry_try_the_coder_again() -> None:
    story = offered_mixed()
    story.build(story.says("b1", **MIXES, **corrupt()))
    assert story.board("b1").mixed_failed
    assert EnsureBlob(BlobKey(IMAGES["C"], IMAGES["A"], mixed=True)) in story.push("C")
    story = offered_mixed()
    for _ in range(2):
        story.build(story.says("b1", **MIXES, **corrupt()))
    assert (story.board("b1").parked, sent(story, "b1")) == (True, DELTA)
    assert offers(story.do(Retry(story.devices[0]))) == ["b1"]
    assert sent(story, "b1") == MIXED


def test_a_board_whose_new_agent_has_no_coder_gets_the_other_delta() -> None:
    story = offered_mixed()
    wanted = story.says("b1", phase=Phase.FETCHING)
    assert wanted == [EnsureBlob(DELTA)]
    assert offers(story.build(wanted)) == ["b1"]
    assert sent(story, "b1") == DELTA


def test_a_board_without_numpy_gets_mixed_deltas_as_well() -> None:
    story = Story("b1", mixing=True)
    story.says("b1", mixing=True, plain=True)
    story.build(story.push("B"))
    assert sent(story, "b1") == MIXED


def test_a_board_that_comes_up_without_the_coder_is_told_nothing_more_once_it_has_the_image() -> None:
    story = offered_mixed()
    assert story.says("b1", phase=Phase.ACTIVATING) == []
    assert story.says("b1", boot_id="boot-2", images={"root": IMAGES["B"]}, phase=Phase.CONFIRMING) == []
    assert story.says("b1", boot_id="boot-2", images={"root": IMAGES["B"]}) == []
    assert story.status("b1") is Status.CONFIRMED


def test_an_image_that_failed_stays_failed_whatever_the_agent_that_fell_back_can_do() -> None:
    story = offered_mixed()
    story.says("b1", phase=Phase.FAILED, error=ErrorReport("BootFailed"), quarantine=(IMAGES["B"],))
    assert story.status("b1") is Status.FAILED
    assert story.board("b1").part


def test_a_board_that_loses_the_coder_while_nothing_is_offered_is_held_by_an_abort() -> None:
    story = offered_mixed()
    story.do(Pause())
    assert not [e for e in story.says("b1", phase=Phase.FETCHING) if isinstance(e, Offer)]
    assert [type(effect) for effect in story.do(Abort("by hand"))] == [Hold]
    assert story.do(Resume()) == []


@dataclass(frozen=True)
class Kind:
    """A board: what it reports, and how its coder behaves."""

    mixing: bool
    plain: bool
    broken: bool
    loses: bool

    @property
    def applies(self) -> bool:
        return self.mixing and not (self.broken or self.loses)


KINDS = st.builds(Kind, *[st.booleans()] * 4)


@given(st.lists(KINDS, min_size=1, max_size=6), st.booleans())
def test_a_fleet_of_both_kinds_of_boards_converges_and_no_delta_goes_where_it_cannot_be_applied(
    kinds: list[Kind], server: bool
) -> None:
    boards = {f"b{number}": kind for number, kind in enumerate(kinds)}
    story = Story(*boards, mixing=server)
    for name, kind in boards.items():
        story.says(name, mixing=kind.mixing, plain=kind.plain)
    story.build(story.push("B"))
    got: dict[str, list[bool]] = {name: [] for name in boards}
    for _ in range(3):
        for name, kind in boards.items():
            if story.status(name) is Status.CONFIRMED:
                continue
            told = {"mixing": kind.mixing and not (kind.loses and got[name]), "plain": kind.plain}
            mixed = sent(story, name).mixed
            assert not mixed or (server and kind.mixing and not got[name])
            got[name].append(mixed)
            if mixed and kind.broken:
                story.build(story.says(name, **told, **corrupt()))
            elif mixed and kind.loses:
                story.build(story.says(name, **{**told, "mixing": False}, phase=Phase.FETCHING))
            else:
                story.says(name, **told, boot_id=f"boot-{name}", images={"root": IMAGES["B"]})
    assert {board.status for board in story.state.boards.values()} == {Status.CONFIRMED}
    for name, kind in boards.items():
        first_mixed = server and kind.mixing
        assert got[name] == ([True] if first_mixed else [False]) + ([False] if first_mixed and not kind.applies else [])
