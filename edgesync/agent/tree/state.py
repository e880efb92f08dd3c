"""What a board must remember of its config, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edgesync.agent.tree.effects import Name
from edgesync.wire import versions
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import ConfigPhase, ConfigTarget, ErrorReport

QUARANTINE_LIMIT = 8
"""Digests remembered: the oldest is forgotten first."""
PAIRS = 2
"""Sets of images whose config is remembered: a board has two slots."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Images and a config that were proved together."""

    images: Mapping[str, Digest]
    config: Digest


@dataclass(frozen=True, slots=True)
class State:
    """What a board must remember of its config over any crash. `images` and `confirmed` are those of this boot."""

    phase: ConfigPhase = ConfigPhase.IDLE
    target: ConfigTarget | None = None
    version: int = 0  # of the desired state that was heard last
    hold: bool = False
    boot_id: str = ""
    images: Mapping[str, Digest] = field(default_factory=dict)
    confirmed: bool = False
    current: Name = ""  # in force, by evidence
    good: Name = ""  # proved last: where a failed trial goes back to
    previous: Name = ""  # proved before that: someone may still be reading it
    trial: Name = ""  # being tried
    back: Name | None = None  # being gone back to
    boots: int = 0  # in the middle of this trial
    starts: int = 0  # of the agent, in the middle of this trial or this way back
    kept: tuple[Digest, ...] = ()  # bundles on the disk
    pairs: tuple[Pair, ...] = ()  # the newest first
    requires: Mapping[Digest, str] = field(default_factory=dict)  # by bundle
    versions: Mapping[Digest, str] = field(default_factory=dict)  # by image, the newest last
    quarantine: tuple[Digest, ...] = ()
    retry: int = 0
    attempts: int = 0  # of the work at hand that failed
    waits: int = 0  # for whatever, since the last success
    error: ErrorReport | None = None
    missing: tuple[BlobId, ...] = ()
    drift: int = 0
    held: bool = False  # WAITING for what says "not now", which is asked again and again: no timer is needed


def is_satisfied(state: State) -> bool:
    return state.target is None or state.current == state.target.sha256


def is_locked(state: State) -> bool:
    """In a trial or on the way back: only the outcome decides."""
    return state.phase is ConfigPhase.PROBING


def is_tried(state: State, config: Digest) -> bool:
    return state.phase is ConfigPhase.PROBING and state.back is None and state.trial == config


def prepares(state: State, config: Digest) -> bool:
    """Whether this bundle is being prepared, or is ready and put off."""
    return applies(state) and state.target is not None and state.target.sha256 == config


def applies(state: State) -> bool:
    """Whether something is being prepared, or is ready and put off."""
    return state.phase is ConfigPhase.APPLYING or state.held


def awaits(state: State, blob: BlobId) -> bool:
    """Whether a fetch of this blob is under way, if only in vain."""
    fetching = state.phase is ConfigPhase.FETCHING or (
        state.phase is ConfigPhase.WAITING and (bool(state.missing) or state.held)
    )
    source = state.target.source if state.target else None
    return fetching and source is not None and source.blob == blob


def unmet(state: State, config: Name) -> str:
    """What the booted images lack of what this config requires, "" for nothing."""
    requires = state.requires.get(config, "") if config else ""
    if not requires:
        return ""
    requirement = versions.parse(requires)
    image = state.images.get(requirement.component)
    version = state.versions.get(image) if image else None
    if version is None:
        return f"{requires}: the version of {requirement.component} here is not known"
    return "" if requirement.accepts(version) else f"{requires}: {version} runs here"


def needed(state: State) -> tuple[Digest, ...]:
    """The bundles and trees that a decision may come back to, and the base of the delta that is wanted."""
    target = state.target
    welcome: Iterable[Name] = (
        target.sha256 if target else "",
        state.good,
        state.previous,
        state.trial,
        *(pair.config for pair in state.pairs),
    )
    base = target.source.base if target and target.source else None
    names = (state.current, state.back or "", base or "", *(name for name in welcome if name not in state.quarantine))
    return tuple(dict.fromkeys(name for name in names if name))


def companion(state: State) -> Name | None:
    """What was proved with the booted images, where these do not meet what is in force or was proved last."""
    if not unmet(state, state.good):
        return None
    pair = next((p for p in state.pairs if p.images == state.images), None)
    return pair.config if pair and pair.config not in state.quarantine else None


def paired(state: State) -> State:
    """Remember what is proved together: firmware and config, both for good."""
    config = state.current
    if not state.confirmed or not config or config != state.good or config in state.quarantine:
        return state
    if unmet(state, config):
        return state
    others = [pair for pair in state.pairs if pair.images != state.images]
    return replace(state, pairs=(Pair(state.images, config), *others)[:PAIRS])


def settled(state: State, config: Name) -> State:
    """No trial any more; this tree is in force."""
    return replace(
        state,
        phase=ConfigPhase.IDLE,
        held=False,
        current=config,
        good=config,
        trial="",
        back=None,
        boots=0,
        starts=0,
        attempts=0,
        waits=0,
        drift=0,
    )


def quarantined(state: State, config: Digest) -> State:
    kept = [digest for digest in state.quarantine if digest != config]
    return replace(state, quarantine=tuple([*kept, config][-QUARANTINE_LIMIT:]))
