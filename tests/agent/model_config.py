"""A board's config as a model: bundles and trees on a disk, the link, fetches, checks and probes as plain values, two
firmware slots below it, and a server's part.

The configurator's order is kept: decide, persist, then effects, each of which a crash may come before. What the
installer does is done in the steps in which a crash can part it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edgesync.agent import events as agent_events
from edgesync.agent.effects import Fetch, Forget, Report, Stop, WakeAfter
from edgesync.agent.tree import effects, events, machine
from edgesync.agent.tree.effects import Name
from edgesync.agent.tree.events import Event
from edgesync.agent.tree.journal import state_from_dict, state_to_dict
from edgesync.agent.tree.state import State
from edgesync.wire.errors import (
    BaseModifiedError,
    BlobWithdrawnError,
    BudgetSpentError,
    CheckFailedError,
    DeltaCorruptError,
    DiskFullError,
    InhibitedError,
    ProbeFailedError,
    StorageError,
    WorkerDiedError,
)
from edgesync.wire.ids import BlobId, Digest, device_id, digest_of
from edgesync.wire.messages import ConfigPhase, ConfigTarget, Desired, Source, Target

KINDS = ("good", "sick", "refused")
"""Of a bundle: it proves itself, its probe fails, a check refuses it before the switch."""
DEVICE = device_id("acme", "b1")


def bundle(kind: str, number: int) -> Digest:
    """The digest of a bundle, in whose first digits the model reads what kind it is."""
    return Digest(f"{KINDS.index(kind):02x}" + digest_of(f"bundle{number}".encode())[2:])


def kind_of(digest: Digest) -> str:
    return KINDS[int(digest[:2], 16)]


def firmware(number: int) -> dict[str, Digest]:
    return {"fw": digest_of(f"firmware{number}".encode())}


def source_to(digest: Digest, base: Name) -> Source:
    blob = BlobId(digest_of(f"{base}>{digest}".encode())[:32])
    return Source("delta" if base else "full", blob, 1000, Digest(base) if base else None)


@dataclass
class Board:
    """The world around `machine.step`. `stored` is the journal's file; `queue` the configurator's events in order."""

    slots: list[int] = field(default_factory=lambda: [1, 1])  # the number of the firmware in each
    slot: int = 0
    trial: bool = False
    boots: int = 0
    bundles: set[Digest] = field(default_factory=set)  # that are whole
    trees: set[Digest] = field(default_factory=set)
    link: Name = ""
    drifted: bool = False
    stored: str = field(default_factory=lambda: json.dumps(state_to_dict(State())))
    state: State = field(default_factory=State)
    queue: deque[Event] = field(default_factory=deque)
    told: list[Event] = field(default_factory=list)  # what this process was told, for repeating
    fetching: Source | None = None
    starved: bool = False
    fetched: set[BlobId] = field(default_factory=set)
    preparing: ConfigTarget | None = None
    ready: ConfigTarget | None = None  # prepared, and asking whether it may be put in force
    put_off: bool = False
    attempting: Name = ""
    switched: bool = False  # by this attempt
    returning: tuple[Name, Name] | None = None
    quiet: bool = False  # of the last way back: no reload was run
    healing: Name = ""
    timer: float = 0.0
    desired: Desired | None = None
    reports: list[State] = field(default_factory=list)
    judge: Callable[[State, Event, tuple[effects.Effect, ...]], None] = lambda *_: None  # before, event, asked for

    # --- power ------------------------------------------------------------------------------------------------------

    def boot(self, slot: int | None = None, *, trial: bool = False) -> None:
        """Power on in this slot, or where the board was; a trial that is booted again goes on."""
        self.boots += 1
        if slot is not None:
            self.slot, self.trial = slot, trial
        self.start()

    def start(self) -> None:
        """The agent's process begins, knowing what is on the disk."""
        self.queue.clear()
        self.told.clear()
        self.fetching = self.preparing = self.returning = self.ready = None
        self.attempting = self.healing = ""
        self.starved, self.switched, self.put_off, self.timer = False, False, False, 0.0
        self.state = state_from_dict(json.loads(self.stored))
        images, kept = firmware(self.slots[self.slot]), tuple(sorted(self.bundles))
        self.queue.append(
            events.Started(str(self.boots), images, not self.trial, self.link, self.link in self.bundles, kept)
        )
        if self.link in self.bundles:
            self.look()

    # --- the configurator -------------------------------------------------------------------------------------------

    def decide(self, event: Event, crash_before: int | None = None) -> None:
        """One event: step, persist, effects; `crash_before`: the agent is killed before the effect of this number."""
        self.told.append(event)
        before = self.state
        self.state, asked = machine.step(before, event)
        self.stored = json.dumps(state_to_dict(self.state))
        assert state_from_dict(json.loads(self.stored)) == self.state, "a state survives the journal"
        self.judge(before, event, asked)
        for number, effect in enumerate(asked):
            if number == crash_before:
                break
            self.perform(effect)
        if crash_before is not None:
            self.start()

    def perform(self, effect: effects.Effect) -> None:
        match effect:
            case Fetch(source):
                self.fetching, self.starved, self.put_off = source, False, False
                if source.blob in self.fetched:
                    self.fetch_ends()
            case Stop():
                self.fetching = self.preparing = self.ready = None
            case Forget(keep):
                self.fetched &= {keep}
                if self.fetching and self.fetching.blob != keep:
                    self.fetching = None
            case effects.Prepare(target):
                self.preparing, self.ready, self.put_off = target, None, False
            case effects.Try(config):
                self.attempting, self.switched = config, False
            case effects.GoBack(config, failed, quiet):
                self.returning, self.quiet = (config, failed), quiet
            case effects.Heal(config):
                self.healing = config
            case effects.Prune(keep):
                self.bundles &= set(keep)
                self.trees &= {*keep, self.link}
            case WakeAfter(seconds):
                assert 0 < seconds <= machine.RETRY_LIMIT
                self.timer = seconds
            case Report():
                self.reports.append(self.state)

    # --- stages -----------------------------------------------------------------------------------------------------

    def fetch_ends(self, how: str = "") -> None:
        """The fetch under way completes, or fails with the named error."""
        assert self.fetching
        source, errors = self.fetching, {"full": DiskFullError, "gone": BlobWithdrawnError, "disk": StorageError}
        self.fetching = None
        if how:
            self.queue.append(agent_events.FetchFailed(source.blob, errors[how]("model")))
        else:
            self.fetched.add(source.blob)
            self.queue.append(agent_events.Fetched(source.blob))

    def prepare_ends(self, how: str = "") -> None:
        """The preparing under way ends by what is on the disk now, or as `how` says."""
        assert self.preparing
        target, self.preparing = self.preparing, None
        errors = {"full": DiskFullError, "died": WorkerDiedError, "corrupt": DeltaCorruptError}
        source, config = target.source, target.sha256
        if how:
            self.queue.append(events.PrepareFailed(config, errors[how]("model")))
            return
        if config not in self.bundles:
            if source is None or source.blob not in self.fetched or (source.base and source.base not in self.bundles):
                self.queue.append(events.PrepareFailed(config, BaseModifiedError("model")))
                return
            self.bundles.add(config)
        self.trees.add(config)
        if kind_of(config) == "refused":
            self.queue.append(events.PrepareFailed(config, CheckFailedError("model")))
        else:
            self.ready = target

    def gate_ends(self, *, opens: bool) -> None:
        """What is ready is let through, or put off: the installer goes on asking."""
        assert self.ready
        if opens:
            self.queue.append(events.Prepared(self.ready.sha256))
            self.ready = None
        elif not self.put_off:
            self.put_off = True
            self.queue.append(agent_events.PutOff(None, InhibitedError("model")))

    def fetch_is_put_off(self) -> None:
        assert self.fetching
        if not self.put_off:
            self.put_off = True
            self.queue.append(agent_events.PutOff(self.fetching.blob, BudgetSpentError("model")))

    def attempt_switches(self, how: str = "") -> None:
        """The trial's switch: it is done, or it fails before it."""
        assert self.attempting
        config = Digest(self.attempting)
        if how or config not in self.bundles:
            self.attempting = ""
            error = DiskFullError("model") if how else BaseModifiedError("model")
            failed = events.Disproved if self.link == config else events.SwitchFailed  # a life before had switched
            self.queue.append(failed(config, error))
        else:
            self.trees.add(config)
            self.link, self.drifted, self.switched = config, False, True
            self.queue.append(events.Switched(config))

    def attempt_ends(self, *, passes: bool) -> None:
        """The reload and the probe of the trial end."""
        config, self.attempting = Digest(self.attempting), ""
        passes = passes and kind_of(config) == "good"
        self.queue.append(events.Proved(config) if passes else events.Disproved(config, ProbeFailedError("model")))

    def return_ends(self, how: str = "") -> None:
        """The way back ends by what is on the disk, or as `how` says."""
        assert self.returning
        (config, _), self.returning = self.returning, None
        if how:
            self.queue.append(events.GoBackFailed(DiskFullError("model")))
        elif config and config not in self.bundles and config not in self.trees:
            self.queue.append(events.GoBackFailed(BaseModifiedError("model")))
        else:
            self.link, self.drifted = config, False
            self.queue.append(events.WentBack(config))

    def heal_ends(self, how: str = "") -> None:
        config, self.healing = Digest(self.healing), ""
        if self.link != config:
            return
        if how or config not in self.bundles:
            self.queue.append(events.HealFailed(config, DiskFullError("x") if how else BaseModifiedError("model")))
        else:
            self.drifted = False
            self.queue.append(events.Healed(config))

    def look(self) -> None:
        """The watch compares the tree in force with its bundle."""
        if not self.link:
            self.queue.append(events.Drifted("", 0, heal=True))
            return
        config = Digest(self.link)
        if config in self.bundles:
            self.queue.append(events.Drifted(config, int(self.drifted), heal=True))
        else:
            self.queue.append(events.HealFailed(config, BaseModifiedError("model")))

    # --- the server -------------------------------------------------------------------------------------------------

    def want(
        self, config: Digest | None, *, requires: str = "", retry: int = 0, hold: str = "", full: bool = False
    ) -> Desired:
        """The next desired state, with a delta from what the board reported last."""
        held = self.state.current
        version = self.desired.version + 1 if self.desired else 1
        before = self.desired.retry if self.desired else 0
        targets = tuple(Target("fw", str(number), 1000, firmware(number)["fw"]) for number in {self.slots[0]})
        target = None
        if config and not hold:
            source = None if held == config and not full else source_to(config, "" if full else held)
            target = ConfigTarget(config, 1000, requires, source)
        self.desired = Desired(
            DEVICE, version, "0" * 40, f"r{version}", "v", () if hold else targets, hold, before + retry, target
        )
        return self.desired

    def go_on(self) -> bool:
        """One thing that is under way goes well; False when nothing is."""
        if self.queue:
            self.decide(self.queue.popleft())
        elif self.trial:
            self.trial = False
            self.queue.append(events.Confirmed())
        elif self.preparing:
            self.prepare_ends()
        elif self.ready:
            self.gate_ends(opens=True)
        elif self.attempting and not self.switched:
            self.attempt_switches()
        elif self.attempting:
            self.attempt_ends(passes=True)
        elif self.returning:
            self.return_ends()
        elif self.healing:
            self.heal_ends()
        elif self.fetching and self.put_off:
            self.put_off = False
            self.queue.append(agent_events.LetThrough(self.fetching.blob))
        elif self.fetching and self.starved:
            self.starved = False
            self.queue.append(agent_events.FetchFlows(self.fetching.blob))
        elif self.fetching:
            self.fetch_ends()
        elif self.timer:
            self.timer = 0.0
            self.queue.append(agent_events.Woken())
        else:
            return False
        return True

    def settle(self, limit: int = 300) -> None:
        """No more faults, until nothing is under way."""
        for _ in range(limit):
            if not self.go_on():
                return
        raise AssertionError(f"still busy after {limit} steps: {self.state}")


def on(board: Board, config: Name) -> bool:
    """Whether this config is in force, proved, and reported so."""
    state = board.state
    return state.phase is ConfigPhase.IDLE and state.current == state.good == board.link == config
