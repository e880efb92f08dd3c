"""The rollout of one revision over a fleet, as a pure state machine: `step(state, event, now) -> (state, effects)`.

The rules:
1. The newest revision is the one rollout. A newer one supersedes it. Images and config of a revision are one desired
   state. A board whose wanted images and config stay the same keeps its desired state and its standing; if it was
   finished, it takes no part in the new rollout.
2. A board is offered a desired state when its wave and a window are open, nothing is paused or stopped, its blobs are
   made, and none of the images that it still lacks, nor its config, is in quarantine. One that never reported is not
   offered anything: what it holds is unknown.
3. A board that reports what is wanted before anything was offered is confirmed at once. It still gets one desired
   state, without sources, so that the broker tells the whole truth and a rebuilt board converges.
4. Silent before activation is `pending` and never counts. Silent after activation for `lost_after` is `lost` and does:
   an image that was booted, a config that was switched to and is being probed. Silence is measured only while this
   server hears the broker, and of a board that connects at times from its next check-in on.
5. `confirmed` is evidence: the report says that the slot is confirmed, the digests read from the booted slot are the
   wanted ones, and where an activation was needed, the boot is another than the one at the time of the offer; and the
   config in force has the wanted digest, is not being probed, and was reported since the offer. Drift takes nothing
   back: the board says that it holds the config, and what someone did to it. A board that says nothing of config is
   not confirmed where config is wanted, and is parked when the rest is done.
6. A wave opens when, in the wave before, at least one board was reached (none need be if none takes part), all reached
   boards are finished, none is still expected to answer, and `success` of the reached ones are confirmed. If that can
   no longer happen the rollout stops as failed: nothing new is offered, nothing is called back.
7. When failed and lost boards are `abort_at` of the reached ones, the rollout is aborted and what failed on them, an
   image, a config, or where it cannot be told all that they were offered, is in quarantine for the whole fleet. Boards
   that have not activated get a hold, confirmed ones stay. One that failed before it heard of that is failed too.
8. Quarantine is (board, digest), of an image or a config. It ends with another digest or with a retry.
9. A hold also stops a board that works on something no longer wanted while it cannot be offered what is.
10. Versions of a board's desired state grow above whatever the board has reported.
11. What most of the boards that still have to wait will need first is made ahead (`edgesync.control.ahead`), one blob
    at a time and only while no board waits for another.

The state after an event is saved before an effect is started. Effects are idempotent; after a restart `NewRevision`
with the same revision issues those that are still due.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from edgesync.control import ahead, evidence, windows
from edgesync.control.planner import BlobKey, Built, Plan, Unbuildable, plan
from edgesync.control.standing import (
    BAD,
    REACHED,
    Abort,
    BlobFailed,
    BlobGone,
    BlobReady,
    BoardReported,
    Effect,
    EnsureBlob,
    Event,
    Forget,
    Hold,
    Listening,
    NewRevision,
    Offer,
    Offered,
    Pause,
    Prepare,
    Republish,
    RepublishConfig,
    Resume,
    Retry,
    Spec,
    Standing,
    State,
    Status,
    Tally,
    Tick,
    retally,
    tally,
)
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Desired, ErrorReport

DESIRED_LIFE = 30 * 86400.0
"""Seconds for which a desired state is signed: a board that sleeps longer finds a new one."""
RENEW_BEFORE = 10 * 86400.0
"""Seconds before the end of that time at which it is signed anew (about 1 KiB a board in 20 days)."""

_IN_PROGRESS = frozenset({Status.OFFERED, Status.PENDING, Status.ACTING})
_EXPECTED = frozenset({Status.BUILDING, Status.OFFERED, Status.ACTING, Status.ACTIVATED})

_ROUNDING = 1e-9  # 0.3 * 10 is more than 3


def rollout_id(fleet: str, revision: str) -> str:
    return hashlib.sha256(f"{fleet}\n{revision}".encode()).hexdigest()[:12]


def step(state: State, event: Event, now: float) -> tuple[State, list[Effect]]:
    """The state after `event`, and what is to be done. The same event again changes nothing more."""
    effects: list[Effect] = []
    device: DeviceId | None = None
    match event:
        case NewRevision(spec):
            effects += [Forget(gone) for gone in state.boards if gone not in spec.wanted]
            state = _begin(state, spec, now)
        case BoardReported(reported):
            device = reported.device
            board = state.boards.get(device)
            if board is None:
                return state, []
            if board.offered:
                firmware, config = board.offered.blobs, bool(board.offered.new_config)
                effects += [Republish(blob) for blob in reported.missing if blob in firmware]
                effects += [RepublishConfig(device, b) for b in reported.missing if config and b not in firmware]
            board = replace(board, reported=reported, seen=now)
            state = replace(state, boards={**state.boards, device: board})
        case Listening(on):
            state = replace(state, listening=(state.listening or now) if on else None)
        case Tick():
            pass
        case Pause():
            state = replace(state, paused=True)
        case Resume():
            state = replace(state, paused=False)
        case Abort(reason):
            if state.phase not in ("running", "failed"):
                return state, []
            state = replace(state, phase="aborted", reason=reason)
        case Retry(one):
            state = _lift(state, one, now)
        case BlobReady(key, built):
            state = replace(state, blobs={**state.blobs, key: built})
        case BlobGone(key):
            state = replace(state, blobs={known: blob for known, blob in state.blobs.items() if known != key})
        case BlobFailed(key, error):
            state = replace(state, blobs={**state.blobs, key: Unbuildable(error)})
    if state.spec is None:
        return state, effects
    state = _advance(state, device, now, effects)
    if device is None and (early := ahead.next_blob(state)) and EnsureBlob(early) not in effects:
        effects.append(Prepare(early))
    return state, effects


# --- a new revision, a retry --------------------------------------------------------------------------------------


def _begin(state: State, spec: Spec, now: float) -> State:
    rollout = rollout_id(spec.fleet.name, spec.fleet.revision)
    again = rollout == state.rollout
    boards = {device: _enlist(state.boards.get(device), spec, device, now, again=again) for device in spec.wanted}
    if again:
        return replace(state, spec=spec, boards=boards)
    return replace(
        state,
        spec=spec,
        rollout=rollout,
        revision=spec.fleet.revision,
        author=spec.author,
        subject=spec.subject,
        started=now,
        phase="running",
        reason="",
        open_waves=0,
        boards=boards,
        blobs=_built(state),
    )


def _enlist(old: Standing | None, spec: Spec, device: DeviceId, now: float, *, again: bool) -> Standing:
    wanted = spec.wanted[device]
    if old is None:
        return Standing(wanted, since=now)
    new = replace(old, wanted=wanted)
    if (old.wants, old.wants_config) == (new.wants, new.wants_config):
        finished = old.status in BAD or old.status is Status.CONFIRMED
        return replace(new, part=old.part if again else not finished)
    fresh = replace(new, part=True, status=Status.WAITING, since=now, error=None)
    return replace(fresh, delta_failed=None, mixed_failed=None, config_whole=False)


def _lift(state: State, device: DeviceId | None, now: float) -> State:
    boards = dict(state.boards)
    for name in boards if device is None else (device,):
        board = boards.get(name)
        if board and (board.status in BAD or board.parked):
            boards[name] = replace(
                board,
                status=Status.WAITING,
                part=True,
                since=now,
                error=None,
                # Seconds, so that it grows even for a server that was rebuilt and does not know the last one.
                retry=max(board.retry + 1, int(now)),
                delta_failed=None,
                mixed_failed=None,
                config_whole=False,
                quarantine=frozenset(),
            )
    state = replace(state, boards=boards, blobs=_built(state))
    if device is None:
        state = replace(state, quarantine=frozenset())
        if state.phase in ("aborted", "failed"):
            state = replace(state, phase="running", reason="")
    return state


def _built(state: State) -> dict[BlobKey, Built | Unbuildable]:
    """Without the blobs that could not be made: the cause may be gone."""
    return {key: blob for key, blob in state.blobs.items() if isinstance(blob, Built)}


# --- boards -------------------------------------------------------------------------------------------------------


def _advance(state: State, device: DeviceId | None, now: float, effects: list[Effect]) -> State:
    """Move one board, or with None all, as far as possible, and then the rollout: it may let more boards move."""
    while True:
        boards = dict(state.boards)
        moved = device is None
        for name in boards if device is None else (device,):
            old = boards[name]
            boards[name] = new = _place(state, old, now, effects)
            moved = moved or new.status is not old.status or new.part != old.part
        standing = (
            tally(boards.values()) if device is None else retally(state.tally, state.boards[device], boards[device])
        )
        state = replace(state, boards=boards, tally=standing)
        if not moved:
            return state
        settled = _settle(state)
        if (settled.phase, settled.open_waves) == (state.phase, state.open_waves):
            return state
        state, device = settled, None


def _place(state: State, board: Standing, now: float, effects: list[Effect]) -> Standing:
    """Where this board stands by the evidence, and its next desired state if one is due."""
    assert state.spec is not None
    board = evidence.learn(board)
    if evidence.is_confirmed(board):
        board = _become(board, Status.CONFIRMED, now)
        if evidence.needs_offer(board, state.made) and not withheld(state, board, now):
            board = _offer(state, board, _plan(state, board), now, effects)
    elif evidence.needs_offer(board, state.made):
        board = _towards_offer(state, board, now, effects)
    else:
        status, error = evidence.judge(board, now, state.listening, state.spec.fleet.lost_after)
        board = _become(board, status, now, error)
        if state.phase == "aborted" and status in _IN_PROGRESS:
            board = _hold(state, board, f"aborted: {state.reason}", now, effects)
    return _renew(state, board, now, effects)


def _towards_offer(state: State, board: Standing, now: float, effects: list[Effect]) -> Standing:
    assert state.spec is not None
    if board.reported is None or board.unsettled:
        return _await_report(state, board, now)
    if withheld(state, board, now):
        if evidence.in_flight(board) and board.offered and board.offered.digests != board.wants:
            return _hold(state, board, f"superseded by revision {state.revision[:12]}", now, effects)
        if evidence.in_flight(board) and board.status not in BAD and state.phase == "aborted":
            return _hold(state, board, f"aborted: {state.reason}", now, effects)
        if board.status in BAD:
            return board
        late = evidence.late_failure(board) if state.phase == "aborted" else None
        return _become(board, Status.FAILED if late else Status.WAITING, now, late or board.error)
    failure = evidence.quarantined(board, state.quarantine)
    if failure:
        # Not tried in this rollout, so it does not count in it.
        return replace(_become(board, Status.FAILED, now, failure), part=False)
    plan = _plan(state, board)
    if plan.refusal:
        parked = board.delta_failed is None or state.spec.fleet.failure.on_delta_failure == "wait"
        return _become(board, Status.WAITING if parked else Status.FAILED, now, plan.refusal)
    if plan.missing:
        effects += [EnsureBlob(key) for key in plan.missing if EnsureBlob(key) not in effects]
        return _become(board, Status.BUILDING, now)
    return _become(_offer(state, board, plan, now, effects), Status.OFFERED, now)


def _await_report(state: State, board: Standing, now: float) -> Standing:
    """What the board holds is unknown until it reports: it never did, or it is between two slots."""
    assert state.spec is not None
    quiet = evidence.silence(board, now, state.listening)
    if board.unsettled:
        lost = quiet > state.spec.fleet.lost_after or board.status is Status.LOST
        return _become(board, Status.LOST if lost else Status.ACTIVATED, now)
    silent = board.wanted.wave < state.open_waves and (quiet > evidence.PENDING_AFTER or board.status is Status.PENDING)
    return _become(board, Status.PENDING if silent else Status.WAITING, now)


def withheld(state: State, board: Standing, now: float) -> str:
    """Why this board may not be offered anything now, for people to read; "" where it may."""
    assert state.spec is not None
    fleet = state.spec.fleet
    if state.phase not in ("running", "done"):
        return f"the rollout is {state.phase}"
    if state.paused:
        return "paused"
    if board.wanted.wave >= state.open_waves:
        return f"wave {fleet.waves[board.wanted.wave].name} is closed"
    declared = fleet.boards.get(board.device)
    return windows.closed(fleet.windows, declared.labels if declared else {}, now)


def _plan(state: State, board: Standing) -> Plan:
    return plan(board.wanted.images, board.holds, state.stock, state.means_of(board), board.delta_failed)


def _offer(state: State, board: Standing, plan: Plan, now: float, effects: list[Effect]) -> Standing:
    report = board.reported
    assert report is not None
    desired = Desired(
        board.device,
        _version(board),
        state.revision,
        state.rollout,
        board.wanted.release,
        plan.targets,
        retry=board.retry,
        config=board.wants_config,
        manners=board.wanted.manners,
    )
    evidence_now = report.boot_id, board.holds, now, now + DESIRED_LIFE
    config = board.holds_config, board.config_whole
    offered = Offered(desired, *evidence_now, desired.version, *config, mixed=plan.mixed)
    effects.append(Offer(offered))
    return replace(board, offered=offered)


def _hold(state: State, board: Standing, reason: str, now: float, effects: list[Effect]) -> Standing:
    assert board.offered is not None
    desired = Desired(
        board.device,
        _version(board),
        state.revision,
        state.rollout,
        board.wanted.release,
        hold=reason[:200],
        retry=board.retry,
        manners=board.wanted.manners,
    )
    # The evidence that the offer was measured against stays: the hold may come too late to stop an activation, or what
    # failed.
    held = board.offered.held or board.offered.first
    expires = now + DESIRED_LIFE
    offered = replace(board.offered, desired=desired, at=now, expires=expires, first=desired.version, held=held)
    effects.append(Hold(offered))
    return _become(replace(board, offered=offered), Status.WAITING, now)


def _renew(state: State, board: Standing, now: float, effects: list[Effect]) -> Standing:
    """Sign again, in time, what is still right."""
    offered = board.offered
    if offered is None or offered.expires - now > RENEW_BEFORE or board.unsettled:
        return board
    if state.paused and not offered.desired.hold:
        return board
    desired = replace(offered.desired, version=_version(board))
    config_base = board.holds_config if board.status is Status.CONFIRMED else offered.config_base
    offered = replace(offered, desired=desired, expires=now + DESIRED_LIFE, config_base=config_base)
    effects.append(Hold(offered) if desired.hold else Offer(offered))
    return replace(board, offered=offered)


def _version(board: Standing) -> int:
    known = board.offered.desired.version if board.offered else 0
    return max(known, board.reported.version if board.reported else 0) + 1


def _become(board: Standing, status: Status, now: float, error: ErrorReport | None = None) -> Standing:
    if status is board.status:
        return board if error == board.error else replace(board, error=error)
    return replace(board, status=status, error=error, since=now)


# --- the rollout --------------------------------------------------------------------------------------------------


def _settle(state: State) -> State:
    """Rules 6 and 7: abort, fail, open one more wave, or be done."""
    assert state.spec is not None
    if state.phase not in ("running", "done"):
        return state
    fleet = state.spec.fleet
    reached, bad = _count(state.tally, REACHED), _count(state.tally, BAD)
    if bad and bad >= fleet.abort_at * reached - _ROUNDING:
        failed = {
            digest
            for board in state.boards.values()
            if board.part and board.status in BAD
            for digest in evidence.suspects(board)
        }
        reason = f"{bad} of {reached} reached boards failed or were lost, the limit is {fleet.abort_at:.0%}"
        return replace(state, phase="aborted", reason=reason, quarantine=state.quarantine | failed)
    if state.open_waves:
        wave = fleet.waves[state.open_waves - 1]
        members = {place: count for place, count in state.tally.items() if place.wave == state.open_waves - 1}
        if _unreachable(members, wave.success):
            reason = f"wave {wave.name}: {wave.success:.0%} of its boards can no longer be confirmed"
            return replace(state, phase="failed", reason=reason)
        if not _passed(members, wave.success):
            return replace(state, phase="running")
    if state.open_waves < len(fleet.waves):
        return replace(state, phase="running", open_waves=state.open_waves + 1)
    finished = _count(state.tally, BAD | {Status.CONFIRMED}) == _count(state.tally, frozenset(Status))
    return replace(state, phase="done" if finished else "running")


def _count(tally: Tally, statuses: frozenset[Status]) -> int:
    return sum(count for place, count in tally.items() if place.status in statuses)


def _unreachable(members: Tally, success: float) -> bool:
    able = {place: count for place, count in members.items() if not place.parked}
    good = _count(able, frozenset(Status) - BAD)
    return bool(able) and good < success * sum(able.values()) - _ROUNDING


def _passed(members: Tally, success: float) -> bool:
    if not members:
        return True
    if any(place.status in _EXPECTED or (place.status is Status.WAITING and not place.parked) for place in members):
        return False
    reached = _count(members, REACHED)
    return bool(reached) and _count(members, frozenset({Status.CONFIRMED})) >= success * reached - _ROUNDING
