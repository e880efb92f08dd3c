"""What is made before a board waits for it: the most common ways first, few of them, and nothing for nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgesync.control import rollout
from edgesync.control.ahead import LIMIT, census, next_blob
from edgesync.control.means import Means
from edgesync.control.planner import BlobKey, Built
from edgesync.control.standing import (
    BlobReady,
    BoardReported,
    Effect,
    EnsureBlob,
    Event,
    NewRevision,
    Pause,
    Prepare,
    Spec,
    State,
    Status,
    Tick,
)
from edgesync.control.types import Fleet, Image, Selector, Wanted, Wave
from edgesync.wire.ids import BlobId, DeviceId, Digest, digest_of
from edgesync.wire.messages import Phase, Reported

NEW = digest_of(b"new")
BASES = [digest_of(bytes([n])) for n in range(LIMIT + 4)]
IMAGE = Image("root", "new.img", "2", NEW, ())


def fleet_on(bases: list[Digest | None], waves: int = 2, means: Means | None = None) -> State:
    """A fleet of which board n holds base n (None: it was never heard), all in the last wave."""
    devices = [DeviceId(f"demo.b{n}") for n in range(len(bases))]
    wanted = {device: Wanted(device, "v2", {"root": IMAGE}, waves - 1) for device in devices}
    stages = tuple(Wave(f"wave{n}", Selector()) for n in range(waves))
    sizes = dict.fromkeys([NEW, *BASES], 10_000)
    spec = Spec(
        Fleet("demo", "c" * 40, {}, (), {}, stages), wanted, sizes, means=dict.fromkeys(devices, means or Means())
    )
    state, _ = rollout.step(State(paused=True), NewRevision(spec), 1.0)
    for device, base in zip(devices, bases, strict=True):
        if base:
            state, _ = said(state, device, base)
    return state


def said(state: State, device: DeviceId, base: Digest, phase: Phase = Phase.IDLE) -> tuple[State, list[Effect]]:
    report = Reported(device, 1, "boot", "a", confirmed=True, images={"root": base}, phase=phase)
    return rollout.step(state, BoardReported(report), 2.0)


def do(state: State, event: Event) -> tuple[State, list[Effect]]:
    return rollout.step(state, event, 3.0)


def test_a_paused_rollout_prepares_the_most_common_way_and_then_the_next() -> None:
    state = fleet_on([BASES[0], BASES[1], BASES[1], None, NEW])
    state, effects = do(state, Tick())
    assert effects == [Prepare(BlobKey(NEW, BASES[1]))]
    state, effects = do(state, BlobReady(BlobKey(NEW, BASES[1]), Built(BlobId("1" * 32), 100)))
    assert effects == [Prepare(BlobKey(NEW, BASES[0]))]
    state, effects = do(state, BlobReady(BlobKey(NEW, BASES[0]), Built(BlobId("2" * 32), 100)))
    assert effects == []
    assert [(share.boards, share.choice.ways[0].length) for share in census(state)] == [(2, 100), (1, 100)]


def test_a_large_delta_is_compared_with_the_full_image_ahead_as_well() -> None:
    state = fleet_on([BASES[0]])
    _, effects = do(state, BlobReady(BlobKey(NEW, BASES[0]), Built(BlobId("1" * 32), 5000)))
    assert effects == [Prepare(BlobKey(NEW))]


def test_what_a_board_waits_for_is_not_prepared_but_made() -> None:
    state = fleet_on([BASES[0]], waves=1)
    state, effects = do(state, Tick())
    assert effects == [Prepare(BlobKey(NEW, BASES[0]))]
    _, effects = do(fleet_on([BASES[0]], waves=1), NewRevision(state.spec))  # type: ignore[arg-type]
    assert EnsureBlob(BlobKey(NEW, BASES[0])) not in effects  # still paused
    _, effects = do(replace(state, paused=False), Tick())
    assert effects == [EnsureBlob(BlobKey(NEW, BASES[0]))]


def test_nothing_is_prepared_for_quarantined_images_unsettled_boards_and_boards_that_cannot_carry_it() -> None:
    state = fleet_on([BASES[0]])
    assert next_blob(replace(state, quarantine=frozenset({NEW}))) is None
    assert next_blob(replace(state, phase="aborted")) is None
    assert next_blob(fleet_on([BASES[0]], means=Means(memory=1 << 20))) is None
    activating, _ = said(state, DeviceId("demo.b0"), BASES[0], Phase.ACTIVATING)
    assert next_blob(activating) is None


def test_a_board_that_cannot_carry_any_way_waits_with_the_reason_and_goes_on_when_its_type_can() -> None:
    state = replace(fleet_on([BASES[0]], waves=1, means=Means(memory=1 << 20)), paused=False)
    state, effects = do(state, Tick())
    (board,) = state.boards.values()
    assert (board.status, board.error and board.error.name, effects) == (Status.WAITING, "BeyondMeans", [])
    assert state.spec is not None
    _, effects = do(state, NewRevision(replace(state.spec, means={})))
    assert effects == [EnsureBlob(BlobKey(NEW, BASES[0]))]


def test_boards_that_differ_in_what_they_can_carry_share_a_blob() -> None:
    state = fleet_on([BASES[0], BASES[0]])
    report = Reported(DeviceId("demo.b1"), 2, "boot", "a", True, {"root": BASES[0]}, Phase.IDLE, plain=True)
    state, _ = do(state, BoardReported(report))
    assert [share.boards for share in census(state)] == [2]


@given(st.lists(st.sampled_from([*BASES, None, NEW]), max_size=40))
def test_the_census_counts_each_waiting_board_once_and_keeps_to_its_limit(bases: list[Digest | None]) -> None:
    state, effects = do(fleet_on(bases), Pause())
    counts = Counter(base for base in bases if base not in (None, NEW))
    shares = census(state)
    assert len(shares) == min(LIMIT, len(counts))
    assert [share.boards for share in shares] == sorted(counts.values(), reverse=True)[:LIMIT]
    assert [e for e in effects if isinstance(e, Prepare)] == ([Prepare(shares[0].choice.take)] if shares else [])  # type: ignore[arg-type]
