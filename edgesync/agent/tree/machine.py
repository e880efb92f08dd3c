"""The decider of a board's config: `step(state, event) -> (state, effects)`. Pure, and the only place where its phases
change.

Rules
1. The configurator persists the new state before it starts an effect. Effects are idempotent: after a crash, `Started`
   issues again whatever the persisted phase asks for.
2. Until `Try`, nothing touches the tree in force: a bundle that cannot be fetched, made or written, or that a check
   refuses, costs a named error and nothing else.
3. Once `Try` was issued, only its outcome decides: a newer desired state is kept and pursued afterwards. Until then
   anything on the board may say "not now" (`PutOff`), and the config waits.
4. A tree whose reload or probe failed is left for the one that was proved before it, and quarantined: it is wanted no
   more until another digest is wanted or the operator says `retry`. So is one whose trial saw too many boots, or too
   many starts of the agent, which its reload may have ended; the way back asks for no more reloads then either.
5. Config waits for firmware: while a slot is on trial, and until what it requires is booted and has proved itself.
6. Firmware that comes back brings its config back: where the booted images do not meet what the tree in force requires,
   and the config that was proved together with them is known, the board goes back to that. It is no one's failure.
7. Only what is in force and not condemned is healed.

    IDLE > FETCHING > APPLYING > PROBING > IDLE
              |          |          |
           WAITING    WAITING    (back) > FAILED
"""

from __future__ import annotations

from dataclasses import replace

from edgesync.agent.effects import Fetch, Forget, Report, Stop, WakeAfter
from edgesync.agent.events import (
    Cleared,
    Fetched,
    FetchFailed,
    FetchFlows,
    FetchStarved,
    LetThrough,
    Noticed,
    PutOff,
    Wanted,
    Woken,
)
from edgesync.agent.tree.effects import Effect, GoBack, Heal, Name, Prepare, Prune, Try
from edgesync.agent.tree.events import (
    Confirmed,
    Disproved,
    Drifted,
    Event,
    GoBackFailed,
    Healed,
    HealFailed,
    Prepared,
    PrepareFailed,
    Proved,
    Started,
    Switched,
    SwitchFailed,
    WentBack,
)
from edgesync.agent.tree.state import (
    State,
    applies,
    awaits,
    companion,
    is_locked,
    is_satisfied,
    is_tried,
    needed,
    paired,
    prepares,
    quarantined,
    settled,
    unmet,
)
from edgesync.wire.errors import (
    BaseModifiedError,
    BlobMissingError,
    BlobWithdrawnError,
    CheckFailedError,
    DiskFullError,
    EdgesyncError,
    MalformedMessageError,
    NotAllowedError,
    ProbeFailedError,
    QuarantinedError,
    RequirementError,
)
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ConfigPhase, Desired, ErrorReport

VERSIONS = 48
"""Images whose version is remembered."""
BOOTS_LIMIT = 3
"""Boots in the middle of one trial that the power is blamed for, not the config."""
STARTS_LIMIT = 6
"""Starts of the agent in the middle of one trial that chance is blamed for. A reload that ends the agent would be run
again by each, so on the way back there are no more reloads after as many.
"""
RETRY_FIRST, RETRY_LIMIT = 15.0, 3600.0
"""Seconds before a healing error is tried again: doubled each time up to the limit."""
_DOUBLINGS = 8
ATTEMPTS_LIMIT = 6
"""Tries of work that breaks (about eight minutes of waiting) before only another desired state helps."""
LINGER = 10.0
"""Seconds that a report of work under way waits, so that work which ends sooner costs one report and not two."""

_UNDERWAY = (ConfigPhase.FETCHING, ConfigPhase.APPLYING, ConfigPhase.WAITING)
_VERDICTS = (CheckFailedError, NotAllowedError, MalformedMessageError)
"""Errors before the switch that say that this bundle will never do."""


Step = tuple[State, tuple[Effect, ...]]


def step(state: State, event: Event) -> Step:
    """One decision. Events that do not fit the phase (late answers of stopped work) change nothing."""
    match event:
        case Started():
            return _started(state, event)
        case Wanted(desired):
            return _wanted(state, desired)
        case Cleared() if state.phase in _UNDERWAY and not is_locked(state):
            return _idle(state, Stop())
        case Noticed(error) if state.phase in _UNDERWAY and state.error != ErrorReport.of(error):
            return replace(state, error=ErrorReport.of(error)), (Report(),)
        case Confirmed():
            proved = replace(state, confirmed=True)
            if is_locked(proved):
                return proved, ()
            proved = paired(proved)
            return _pursue(proved) if _is_idle_in_wait(proved) else (proved, ())
        case Fetched(blob) if awaits(state, blob):
            assert state.target is not None
            return _at(state, ConfigPhase.APPLYING), (Prepare(state.target),)
        case FetchFailed(blob, error) if awaits(state, blob):
            return _wait_or_fail(state, error)
        case FetchStarved(blob, error) if awaits(state, blob):
            return replace(_at(state, ConfigPhase.WAITING, error), missing=(blob,)), (Report(),)
        case FetchFlows(blob) if state.phase is ConfigPhase.WAITING and awaits(state, blob):
            return _at(state, ConfigPhase.FETCHING), (Report(),)
        case PutOff(blob, error) if applies(state) if blob is None else awaits(state, blob):
            return replace(_at(state, ConfigPhase.WAITING, error), held=True), (Report(),)
        case LetThrough(blob) if state.held and blob is not None and awaits(state, blob):
            return replace(state, phase=ConfigPhase.FETCHING, error=None, held=False), (Report(LINGER),)
        case Prepared(config) if prepares(state, config):
            trying = replace(
                state,
                phase=ConfigPhase.PROBING,
                trial=config,
                kept=_with(state.kept, config),
                boots=0,
                starts=0,
                error=None,
                held=False,
            )
            return trying, (Forget(None), Try(config))
        case PrepareFailed(config, error) if prepares(state, config):
            return _not_prepared(state, config, error)
        case Switched(config) if is_tried(state, config):
            return replace(state, current=config, drift=0), ()
        case SwitchFailed(config, error) if is_tried(state, config):
            return _wait_or_fail(replace(state, trial=""), error)
        case Proved(config) if is_tried(state, config):
            previous = state.good if state.good != config else state.previous
            proved = replace(settled(state, config), previous=previous, error=None)
            return _pruned(_pursue(paired(proved)))
        case Disproved(config, error) if is_tried(state, config):
            return _condemned(state, error)
        case WentBack(config) if state.back == config:
            return _went_back(state, config)
        case GoBackFailed(error) if state.back is not None:
            return _not_back(state, error)
        case Drifted(config) if config != state.current and state.current and not is_locked(state):
            # Someone has moved the link. Only the decider knows where it belongs, and it has to lead there.
            back = replace(_at(state, ConfigPhase.PROBING), back=state.current)
            return back, (Stop(), GoBack(state.current, ""), Report(LINGER))
        case Drifted(config, count, heal) if config and config == state.current and not is_locked(state):
            healing = heal and count > 0 and config not in state.quarantine
            report = (Report(),) if count != state.drift else ()
            return replace(state, drift=count), (*report, *((Heal(config),) if healing else ()))
        case Healed(config) if config == state.current and state.drift:
            return replace(state, drift=0), (Report(),)
        case HealFailed(config, error) if config == state.current and not is_locked(state):
            if isinstance(error, BaseModifiedError):  # the bundle is gone too: the server has to send it again
                return _pursue(replace(state, current="", kept=tuple(d for d in state.kept if d != config)))
            if state.phase is ConfigPhase.IDLE:
                return replace(state, error=ErrorReport.of(error)), (Report(),)
        case Woken() if state.back is not None:
            return state, (_way_back(state),)
        case Woken() if _is_idle_in_wait(state):
            return _pursue(state)
    return state, ()


def _started(state: State, event: Started) -> Step:
    before = state
    state = replace(
        state,
        boot_id=event.boot_id,
        images=dict(event.images),
        confirmed=event.confirmed,
        current=event.linked if event.verified else "",
        kept=event.kept,
        starts=state.starts + 1 if is_locked(state) else 0,
        missing=(),
        held=False,
    )
    if state.back is not None:
        return state, (_way_back(state), Report(LINGER))
    if is_locked(state):
        state = replace(state, boots=state.boots + (event.boot_id != before.boot_id))
        if unmet(state, state.trial):
            return _leaving(state)
        if state.boots > BOOTS_LIMIT:
            return _condemned(state, ProbeFailedError(f"the board booted {state.boots} times during the trial"))
        if state.starts > STARTS_LIMIT:
            return _condemned(state, ProbeFailedError(f"the agent began {state.starts} times during the trial"))
        assert state.trial
        return state, (Try(state.trial), Report(LINGER))
    state = replace(state, good=event.linked)
    if companion(state) not in (None, state.good):
        return _leaving(state)
    changes = state.current != before.current or state.images != before.images
    if state.phase is ConfigPhase.FAILED and not changes:
        return _pruned((state, (Report(),)))
    return _pruned(_pursue(paired(state)))


def _wanted(state: State, desired: Desired) -> Step:
    if desired.version <= state.version:
        # The version in force again matters where it was cleared from the broker in between.
        stopped = desired.version == state.version and state.phase is ConfigPhase.IDLE and not is_satisfied(state)
        return _pursue(state) if stopped and not is_locked(state) else (state, ())
    target = state.target if desired.hold else desired.config
    known = {**state.versions, **{t.sha256: t.version for t in desired.targets}}
    new = replace(
        state,
        target=target,
        version=desired.version,
        hold=bool(desired.hold),
        versions=dict([*known.items()][-VERSIONS:]),
        retry=max(state.retry, desired.retry),
        quarantine=() if desired.retry > state.retry else state.quarantine,
        attempts=0,
        waits=0,
    )
    if target:
        required = {**new.requires, target.sha256: target.requires}
        new = replace(new, requires={digest: text for digest, text in required.items() if digest in needed(new)})
    if is_locked(new):
        return new, ()
    return _pursue(replace(new, error=None, missing=(), held=False))


def _pursue(state: State) -> Step:
    """The next thing to do for the desired state, from what is there."""
    target = state.target
    if target is None or state.hold:
        return _idle(state, Stop())
    if target.sha256 in state.quarantine:
        return _failed(state, QuarantinedError(f"config {target.sha256[:12]} failed here before"))
    if is_satisfied(state):
        return _idle(state, Stop(), Forget(None))
    if not state.confirmed:
        return _at(state, ConfigPhase.WAITING), (Stop(), Report(LINGER))
    if lack := unmet(state, target.sha256):
        return _at(state, ConfigPhase.WAITING, RequirementError(lack)), (Stop(), Report())
    if target.sha256 in state.kept:
        return _at(state, ConfigPhase.APPLYING), (Prepare(target), Report(LINGER))
    source = target.source
    if source is None or (source.base is not None and source.base not in state.kept):
        wanted = source.base if source and source.base else target.sha256
        return _failed(state, BaseModifiedError(f"config {wanted[:12]} is not here as it was sent"))
    return _at(state, ConfigPhase.FETCHING), (Forget(source.blob), Fetch(source), Report(LINGER))


def _not_prepared(state: State, config: Digest, error: EdgesyncError) -> Step:
    if isinstance(error, _VERDICTS):
        failed, effects = _failed(quarantined(state, config), error)
        return _pruned((failed, (Forget(None), *effects)))
    if isinstance(error, BaseModifiedError):
        had = config in state.kept
        base = state.target.source.base if state.target and state.target.source else None
        lost = replace(state, kept=tuple(d for d in state.kept if d != config and (had or d != base)))
        return _pursue(lost) if had else _failed(lost, error)
    failed, effects = _wait_or_fail(state, error)
    # A blob that made a wrong bundle is worth nothing; one whose worker was killed is used again.
    return failed, effects if error.heals else (Forget(None), *effects)


# --- going back ---------------------------------------------------------------------------------------------------


def _condemned(state: State, error: EdgesyncError) -> Step:
    assert state.trial
    if state.trial == state.good:  # it was written anew because its bundle was lost; there is nothing better
        return _at(settled(state, state.trial), ConfigPhase.FAILED, error), (Report(),)
    return _leaving(replace(quarantined(state, state.trial), error=ErrorReport.of(error)))


def _leaving(state: State) -> Step:
    """Go back: to what was proved last, or to what was proved with this firmware."""
    known = companion(state)
    back = state.good if known is None else known
    leaving = replace(state, back=back, starts=0, phase=ConfigPhase.PROBING, held=False)
    return leaving, (_way_back(leaving), Report(LINGER))


def _way_back(state: State) -> GoBack:
    assert state.back is not None
    return GoBack(state.back, state.trial, quiet=state.starts > STARTS_LIMIT)


def _went_back(state: State, config: Name) -> Step:
    back = settled(state, config)
    superseded = back.target is None or back.target.sha256 not in back.quarantine
    if state.error is None or superseded:
        return _pruned(_pursue(paired(replace(back, error=None))))
    return _pruned((replace(back, phase=ConfigPhase.FAILED), (Report(),)))


def _not_back(state: State, error: EdgesyncError) -> Step:
    """What time may heal is tried again for ever; where nothing is left to go back to, the board stays as it is."""
    if not error.heals:
        return _at(settled(state, state.current), ConfigPhase.FAILED, error), (Report(),)
    return replace(state, waits=state.waits + 1), (WakeAfter(_pause(state)), Report(LINGER))


# --- outcomes -----------------------------------------------------------------------------------------------------


def _at(state: State, phase: ConfigPhase, error: EdgesyncError | None = None) -> State:
    return replace(state, phase=phase, error=ErrorReport.of(error) if error else None, missing=(), held=False)


def _pruned(outcome: Step) -> Step:
    """The same, and everything that no decision can come back to is removed."""
    state, effects = outcome
    keep = needed(state)
    pruned = replace(
        state,
        kept=tuple(digest for digest in state.kept if digest in keep),
        requires={digest: text for digest, text in state.requires.items() if digest in keep},
    )
    return pruned, (Prune(keep), *effects)


def _idle(state: State, *effects: Effect) -> Step:
    idle = replace(_at(state, ConfigPhase.IDLE), attempts=0, waits=0)
    return idle, (*effects, Report())


def _failed(state: State, error: EdgesyncError) -> Step:
    return _at(state, ConfigPhase.FAILED, error), (Stop(), Report())


def _wait_or_fail(state: State, error: EdgesyncError) -> Step:
    """Errors that time may heal are tried again later, those that will not stay failed. A full disk or a missing blob
    may take days, so only broken work counts its attempts.
    """
    patient = isinstance(error, BlobMissingError | BlobWithdrawnError | DiskFullError)
    if not error.heals or (state.attempts >= ATTEMPTS_LIMIT and not patient):
        return _failed(state, error)
    attempts = state.attempts + (0 if patient else 1)
    waiting = replace(_at(state, ConfigPhase.WAITING, error), attempts=attempts, waits=state.waits + 1)
    return waiting, (WakeAfter(_pause(state)), Report())


def _pause(state: State) -> float:
    return min(RETRY_LIMIT, RETRY_FIRST * (1 << min(state.waits, _DOUBLINGS)))


def _is_idle_in_wait(state: State) -> bool:
    """Waiting with nothing under way that goes on by itself."""
    return state.phase is ConfigPhase.WAITING and not state.missing and not state.held


def _with(known: tuple[Digest, ...], digest: Digest) -> tuple[Digest, ...]:
    return known if digest in known else (*known, digest)
