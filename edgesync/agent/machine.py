"""The board's decider: `step(state, event, now) -> (state, effects)`. Pure, and the only place where phases change.

Rules
1. The runner persists the new state before it starts an effect. Effects are idempotent: after a crash, `Booted` issues
   again whatever the persisted phase asks for.
2. Nothing is fetched before the base in the booted slot is the one that the delta was made from.
3. Every component is verified in the other slot before the one `Activate`. A component that does not change is copied
   there as well, so that a slot is always whole.
4. Once `Activate` was issued, only a boot decides: a newer desired state is kept and pursued afterwards. So it is
   until something on the board says "not now" (`PutOff`): then nothing was activated, and the board waits.
5. `confirmed` is set by evidence: the boot loader's word that the slot is not on trial, or our own probe that passed.
6. An image that failed to boot, or to prove itself healthy, is quarantined: it is wanted no more until another digest
   is wanted or the operator says `retry`.

    IDLE > FETCHING > APPLYING > ACTIVATING > (boot) > CONFIRMING > IDLE
               |          |                                |
            WAITING    WAITING, FAILED                  (boot) > FAILED
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgesync.agent.effects import (
    Activate,
    Apply,
    Effect,
    Fetch,
    Forget,
    MarkGood,
    Probe,
    Reboot,
    Report,
    Stop,
    WakeAfter,
)
from edgesync.agent.events import (
    ActivateFailed,
    Applied,
    ApplyFailed,
    Booted,
    Cleared,
    Event,
    Fetched,
    FetchFailed,
    FetchFlows,
    FetchStarved,
    LetThrough,
    Noticed,
    ProbeFailed,
    ProbePassed,
    PutOff,
    Wanted,
    Woken,
)
from edgesync.wire.errors import (
    BaseModifiedError,
    BlobMissingError,
    BlobWithdrawnError,
    BootFailedError,
    DiskFullError,
    EdgesyncError,
    QuarantinedError,
    ResultMismatchError,
)
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import Desired, ErrorReport, Phase, Target

QUARANTINE_LIMIT = 16
"""Digests remembered: the oldest is forgotten first."""
RETRY_FIRST, RETRY_LIMIT = 15.0, 3600.0
"""Seconds before a healing error is tried again: doubled each time up to the limit."""
_DOUBLINGS = 8
"""Until the limit is reached. A disk may be full for months: 2 to the power of its waits is no float any more."""
ATTEMPTS_LIMIT = 6
"""Tries of one apply (about eight minutes of waiting) before only another desired state helps."""

_UNDERWAY = (Phase.FETCHING, Phase.APPLYING, Phase.WAITING)
_VERDICTS = ("ProbeFailed", "ResultMismatch")
"""Names of the errors that condemn a slot while it is on trial."""


@dataclass(frozen=True, slots=True)
class State:
    """What a board must remember over any crash. `images` are digests read from the booted slot at this boot."""

    phase: Phase = Phase.IDLE
    desired: Desired | None = None
    boot_id: str = ""
    slot: str = ""
    confirmed: bool = False
    images: Mapping[str, Digest] = field(default_factory=dict)
    ready: tuple[str, ...] = ()  # components of `desired` that are verified in the other slot
    trial: tuple[Target, ...] = ()  # what the other slot held when it was activated
    suspects: tuple[Digest, ...] = ()  # those of them that the slot booted then did not hold
    quarantine: tuple[Digest, ...] = ()
    retry: int = 0
    attempts: int = 0  # of the work at hand that failed
    waits: int = 0  # for whatever, since the last success
    error: ErrorReport | None = None
    missing: tuple[BlobId, ...] = ()
    held: bool = False  # WAITING for what says "not now", which is asked again and again: no timer is needed


Step = tuple[State, tuple[Effect, ...]]


def step(state: State, event: Event) -> Step:
    """One decision. Events that do not fit the phase (late answers of stopped work) change nothing."""
    match event:
        case Booted():
            return _booted(state, event)
        case Wanted(desired):
            return _wanted(state, desired)
        case Cleared():
            if state.phase in _UNDERWAY:
                return _idle(state, Stop())
        case Noticed(error) if state.error != ErrorReport.of(error):
            if state.phase is not Phase.FAILED and not _is_condemned(state):
                return replace(state, error=ErrorReport.of(error)), (Report(),)
        case Fetched(blob) if _awaits(state, blob):
            target = _next_target(state)
            assert target is not None
            applying = replace(state, phase=Phase.APPLYING, error=None, missing=(), held=False)
            return applying, (Apply(target), Report())
        case FetchFailed(blob, error) if _awaits(state, blob):
            return _wait_or_fail(state, error)
        case FetchStarved(blob, error) if _awaits(state, blob):
            waiting = replace(state, phase=Phase.WAITING, error=ErrorReport.of(error), missing=(blob,), held=False)
            return waiting, (Report(),)
        case FetchFlows(blob) if state.phase is Phase.WAITING and _awaits(state, blob):
            return replace(state, phase=Phase.FETCHING, error=None, missing=(), held=False), (Report(),)
        case PutOff(blob, error) if _may_be_put_off(state, blob):
            held = replace(state, phase=Phase.WAITING, error=ErrorReport.of(error), missing=(), held=True)
            return held, (Report(),)
        case LetThrough(None) if state.held and _next_target(state) is None:
            return _pursue(state)
        case LetThrough(blob) if state.held and blob == _blob_of(state):
            return replace(state, phase=Phase.FETCHING, error=None, held=False), (Report(),)
        case Applied(component, sha256) if state.phase is Phase.APPLYING:
            target = _next_target(state)
            if target and target.component == component and target.sha256 == sha256:
                return _pursue(replace(state, ready=(*state.ready, component), attempts=0, waits=0))
        case ApplyFailed(component, error) if state.phase is Phase.APPLYING:
            target = _next_target(state)
            if target and target.component == component:
                failed, effects = _wait_or_fail(state, error)
                # A blob that made a wrong image is worth nothing; one whose worker was killed is used again.
                return failed, effects if error.heals else (Forget(None), *effects)
        case ActivateFailed(error) if state.phase is Phase.ACTIVATING:
            return _wait_or_fail(state, error)
        case ActivateFailed() if _is_condemned(state):
            return state, (WakeAfter(RETRY_FIRST),)
        case ProbePassed() if state.phase is Phase.CONFIRMING and not _is_condemned(state):
            pursued, effects = _pursue(replace(_healthy(state), confirmed=True))
            return pursued, (MarkGood(), Forget(_blob_of(pursued)), *effects)
        case ProbeFailed(error) if state.phase is Phase.CONFIRMING:
            return _condemned(state, ErrorReport.of(error), Phase.CONFIRMING), (Report(), Reboot())
        case Woken() if _is_condemned(state):
            return state, (Reboot(),)
        case Woken() if state.phase is Phase.WAITING and not state.missing and not state.held:
            return _pursue(state)
    return state, ()


def _booted(state: State, event: Booted) -> Step:
    before = state
    state = replace(
        state,
        boot_id=event.boot_id,
        slot=event.slot,
        images=dict(event.images),
        confirmed=not event.trial,
        missing=(),
        held=False,
    )
    good: tuple[Effect, ...] = () if event.trial else (MarkGood(),)
    if state.phase is Phase.ACTIVATING and state.boot_id == before.boot_id:
        return state, (*good, Activate())  # only the process ended; the reboot is still to come
    by_hand = state.slot != before.slot and not event.trial and not event.fell_back
    if state.phase in (Phase.ACTIVATING, Phase.CONFIRMING) and not by_hand:
        judged, effects = _judged(state, event)
        return judged, (*good, *effects)
    if event.trial:  # a slot that we did not activate is on trial: someone else's flashing; it proves itself alike
        known = before.images.values()
        suspects = tuple(digest for digest in event.images.values() if digest not in known) if known else ()
        foreign = replace(_healthy(state), phase=Phase.CONFIRMING, suspects=suspects)
        return foreign, (Probe(), Report())
    changes = state.slot != before.slot or dict(state.images) != dict(before.images)
    if state.phase is Phase.FAILED and not changes:
        return state, (*good, Report())
    pursued, effects = _pursue(_healthy(state) if changes else state)
    return pursued, (*good, *effects)


def _judged(state: State, event: Booted) -> Step:
    """A boot after `Activate`: what it says of the slot that was activated."""
    runs_trial = all(event.images.get(t.component) == t.sha256 for t in state.trial)
    if event.trial and _is_condemned(state):
        return state, (Report(), Reboot())
    if event.trial and not runs_trial:
        error = ResultMismatchError(f"slot {event.slot} was booted and does not hold the images that were verified")
        return _condemned(state, ErrorReport.of(error), Phase.CONFIRMING), (Report(), Reboot())
    if event.trial:
        return replace(state, phase=Phase.CONFIRMING), (Probe(), Report())
    if runs_trial and not event.fell_back:  # it was marked good, and the power went before that was written down
        return _pursue(_healthy(state))
    if state.phase is Phase.ACTIVATING and not event.fell_back and state.attempts < ATTEMPTS_LIMIT:
        # The power went before the boot loader was told. One that never says that it fell back must not loop.
        return replace(state, attempts=state.attempts + 1), (Activate(),)
    why = BootFailedError(f"the boot loader came back to slot {event.slot}")
    verdict = state.error if _is_condemned(state) else None
    failed = _condemned(state, verdict or ErrorReport.of(why), Phase.FAILED)
    if failed.desired and not any(t.sha256 in failed.quarantine for t in failed.desired.targets):
        return _pursue(failed)  # another desired state came in between
    return failed, (Report(),)


def _wanted(state: State, desired: Desired) -> Step:
    if state.desired and desired.version <= state.desired.version:
        # The version in force again matters where it was cleared from the broker in between.
        stopped = desired.version == state.desired.version and state.phase is Phase.IDLE and not _is_satisfied(state)
        return _pursue(state) if stopped else (state, ())
    images_change = state.desired is None or _digests(state.desired) != _digests(desired)
    new = replace(
        state,
        desired=desired,
        retry=max(state.retry, desired.retry),
        quarantine=() if desired.retry > state.retry else state.quarantine,
        ready=() if images_change else state.ready,
        attempts=0,
        waits=0,
    )
    if state.phase in (Phase.ACTIVATING, Phase.CONFIRMING):
        return new, (Report(),)
    if desired.hold:
        return _idle(new, Stop())
    return _pursue(replace(new, error=None, missing=(), held=False))


def _pursue(state: State) -> Step:
    """The next thing to do for the desired state, from what is there."""
    desired = state.desired
    if desired is None or _is_satisfied(state):
        return _idle(state, Stop()) if desired and desired.hold else _idle(state, Stop(), Forget(None))
    for target in desired.targets:
        if target.sha256 in state.quarantine:
            return _failed(
                state,
                QuarantinedError(f"{target.component} {target.version} ({target.sha256[:12]}) failed here before"),
            )
    upcoming = _next_target(state)
    if upcoming is None:
        suspects = tuple(t.sha256 for t in desired.targets if state.images.get(t.component) != t.sha256)
        activating = replace(
            state, phase=Phase.ACTIVATING, trial=desired.targets, suspects=suspects, error=None, held=False
        )
        return activating, (Report(), Activate())
    here = state.images.get(upcoming.component)
    if here == upcoming.sha256:
        return replace(state, phase=Phase.APPLYING, held=False), (Apply(replace(upcoming, source=None)), Report())
    source = upcoming.source
    if source is None or (source.base is not None and source.base != here):
        expected = source.base[:12] if source and source.base else upcoming.sha256[:12]
        found = here[:12] if here else "nothing"
        return _failed(
            state, BaseModifiedError(f"{upcoming.component}: slot {state.slot} holds {found}, expected {expected}")
        )
    return (
        replace(state, phase=Phase.FETCHING, error=None, missing=(), held=False),
        (Forget(source.blob), Fetch(source), Report()),
    )


def _next_target(state: State) -> Target | None:
    """The first component of the desired state that is not ready in the other slot."""
    if state.desired is None:
        return None
    return next((t for t in state.desired.targets if t.component not in state.ready), None)


def _is_satisfied(state: State) -> bool:
    """Whether the desired state asks for nothing that the booted slot does not hold."""
    desired = state.desired
    return desired is None or all(state.images.get(t.component) == t.sha256 for t in desired.targets)


def _is_condemned(state: State) -> bool:
    """On trial, failed, and about to go back."""
    return state.phase is Phase.CONFIRMING and state.error is not None and state.error.name in _VERDICTS


def _awaits(state: State, blob: BlobId) -> bool:
    """Whether a fetch of this blob is under way, if only in vain."""
    in_vain = state.phase is Phase.WAITING and (bool(state.missing) or state.held)
    return (state.phase is Phase.FETCHING or in_vain) and _blob_of(state) == blob


def _may_be_put_off(state: State, blob: BlobId | None) -> bool:
    """Whether this is what is under way or put off already: the fetch of this blob, or with None the activation."""
    if blob is None:
        return state.phase is Phase.ACTIVATING or (state.held and _next_target(state) is None)
    return _awaits(state, blob)


def _blob_of(state: State) -> BlobId | None:
    target = _next_target(state)
    return target.source.blob if target and target.source else None


def _digests(desired: Desired) -> dict[str, Digest]:
    return {t.component: t.sha256 for t in desired.targets}


def _healthy(state: State) -> State:
    return replace(state, phase=Phase.IDLE, trial=(), ready=(), attempts=0, waits=0, error=None, held=False)


def _idle(state: State, *effects: Effect) -> Step:
    idle = replace(state, phase=Phase.IDLE, ready=(), attempts=0, waits=0, error=None, missing=(), held=False)
    return idle, (*effects, Report())


def _failed(state: State, error: EdgesyncError) -> Step:
    failed = replace(state, phase=Phase.FAILED, error=ErrorReport.of(error), missing=(), held=False)
    return failed, (Stop(), Report())


def _wait_or_fail(state: State, error: EdgesyncError) -> Step:
    """Errors that time may heal are tried again later, those that will not stay failed. A full disk or a missing blob
    may take days, so only broken work counts its attempts.
    """
    patient = isinstance(error, BlobMissingError | BlobWithdrawnError | DiskFullError)
    if not error.heals or (state.attempts >= ATTEMPTS_LIMIT and not patient):
        return _failed(state, error)
    waiting = replace(
        state,
        phase=Phase.WAITING,
        attempts=state.attempts + (0 if patient else 1),
        waits=state.waits + 1,
        error=ErrorReport.of(error),
        missing=(),
        held=False,
    )
    seconds = min(RETRY_LIMIT, RETRY_FIRST * 2 ** min(state.waits, _DOUBLINGS))
    return waiting, (WakeAfter(seconds), Report())


def _condemned(state: State, error: ErrorReport, phase: Phase) -> State:
    """What the trial brought goes into quarantine; images that the board ran before stay welcome."""
    kept = [digest for digest in state.quarantine if digest not in state.suspects]
    return replace(
        state,
        phase=phase,
        trial=state.trial if phase is Phase.CONFIRMING else (),
        ready=(),
        quarantine=tuple([*kept, *state.suspects][-QUARANTINE_LIMIT:]),
        error=error,
    )
