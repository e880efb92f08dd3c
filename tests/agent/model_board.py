"""A board as a model: boot loader, two slots, journal, fetch, apply and reboot as plain values, and a server's part.

The boot loader is the played one's own rules (`boards.bootenv.BootEnv`); all else is the simplest thing that could be
true. The runner's order is kept: decide, persist, then effects, each of which a crash may come before.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edgesync.agent import effects, events, machine
from edgesync.agent.events import Event
from edgesync.agent.journal import state_from_dict, state_to_dict
from edgesync.agent.machine import State
from edgesync.boards.bootenv import BootEnv, other
from edgesync.wire.errors import (
    BaseModifiedError,
    BlobWithdrawnError,
    DeltaCorruptError,
    DiskFullError,
    InhibitedError,
    ProbeFailedError,
    StorageError,
    WorkerDiedError,
)
from edgesync.wire.ids import BlobId, Digest, device_id, digest_of
from edgesync.wire.messages import Desired, Phase, Source, Target

COMPONENTS = ("kernel", "rootfs")
KINDS = ("good", "refused", "sick")
"""Of an image: it boots and is healthy, the boot loader refuses it, it boots and never gets healthy."""
TRIES = 3
DEVICE = device_id("acme", "b1")


def image(kind: str, number: int, component: str) -> Digest:
    """The digest of an image, in whose first digits the model reads what kind it is."""
    return Digest(f"{KINDS.index(kind):02x}" + digest_of(f"{component}{number}".encode())[2:])


def kind_of(digest: Digest) -> str:
    return KINDS[int(digest[:2], 16)] if int(digest[:2], 16) < len(KINDS) else "good"


FACTORY = {name: image("good", 0, name) for name in COMPONENTS}
BROKEN = Digest("f" * 64)
"""What a slot holds that someone wrote to."""


def source_to(digest: Digest, base: Digest | None) -> Source:
    blob = BlobId(digest_of(f"{base}>{digest}".encode())[:32])
    return Source("delta" if base else "full", blob, 1000, base)


@dataclass
class Board:
    """The world around `machine.step`. `stored` is the journal's file; `queue` the runner's events in order."""

    slots: dict[str, dict[str, Digest]] = field(default_factory=lambda: {"a": dict(FACTORY), "b": {}})
    env: BootEnv = field(default_factory=BootEnv)
    slot: str = "a"
    trial: bool = False
    boots: int = 0
    stored: str = field(default_factory=lambda: json.dumps(state_to_dict(State())))
    state: State = field(default_factory=State)
    queue: deque[Event] = field(default_factory=deque)
    told: list[Event] = field(default_factory=list)  # what this process was told, for repeating
    fetching: Source | None = None
    starved: bool = False
    put_off: bool = False  # the fetch under way is
    leaving: bool = False  # the activation is put off
    fetched: set[BlobId] = field(default_factory=set)
    applying: Target | None = None
    rebooting: str = ""
    probing: bool = False
    probed: bool = False
    timer: float = 0.0
    desired: Desired | None = None
    reports: list[State] = field(default_factory=list)
    judge: Callable[[State, Event, tuple[effects.Effect, ...]], None] = lambda *_: None  # before, event, asked for

    # --- power --------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: the loader picks a slot, the agent starts."""
        self.boots += 1
        while True:
            self.env, self.slot, self.trial = self.env.next_boot()
            if not self.trial or "refused" not in map(kind_of, self.slots[self.slot].values()):
                break
        self.start()

    def start(self) -> None:
        """The agent's process begins, knowing what is on the disk."""
        self.queue.clear()
        self.told.clear()
        self.fetching = self.applying = None
        self.rebooting, self.probing, self.probed, self.starved, self.timer = "", False, False, False, 0.0
        self.put_off = self.leaving = False
        self.state = state_from_dict(json.loads(self.stored))
        trial = self.trial and self.env.primary != self.slot
        self.queue.append(
            events.Booted(str(self.boots), self.slot, trial, bool(self.env.fell_back), dict(self.slots[self.slot]))
        )

    # --- the runner ---------------------------------------------------------------------------------------------

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
            case effects.Fetch(source):
                self.fetching, self.starved = source, False
                self.put_off = False
                if source.blob in self.fetched:
                    self.fetch_ends()
            case effects.Stop():
                self.fetching = self.applying = None
                self.leaving = False
            case effects.Forget(keep):
                self.fetched &= {keep}
                if self.fetching and self.fetching.blob != keep:
                    self.fetching = None
            case effects.Apply(target):
                self.applying = target
                self.env = self.env.closed()
                self.slots[other(self.slot)][target.component] = BROKEN  # half written from now on
            case effects.Activate():
                self.rebooting, self.leaving = "activate", False
            case effects.Reboot():
                self.rebooting = self.rebooting or "reboot"
            case effects.MarkGood():
                self.env = self.env.kept(self.slot)
            case effects.Probe():
                self.probing = True
            case effects.WakeAfter(seconds):
                assert 0 < seconds <= machine.RETRY_LIMIT
                self.timer = seconds
            case effects.Report():
                self.reports.append(self.state)

    # --- the gate -----------------------------------------------------------------------------------------------

    def not_now(self) -> None:
        """What was asked for last is put off."""
        error = InhibitedError("model")
        if self.rebooting == "activate":
            self.rebooting, self.leaving = "", True
            self.queue.append(events.PutOff(None, error))
        elif self.fetching:
            self.put_off = True
            self.queue.append(events.PutOff(self.fetching.blob, error))

    def now(self) -> None:
        """What was put off may be done."""
        if self.leaving:
            self.leaving = False
            self.queue.append(events.LetThrough(None))
        elif self.fetching and self.put_off:
            self.put_off = False
            self.queue.append(events.LetThrough(self.fetching.blob))

    # --- stages -------------------------------------------------------------------------------------------------

    def fetch_ends(self, how: str = "") -> None:
        """The fetch under way completes, or fails with the named error."""
        assert self.fetching
        source, errors = self.fetching, {"full": DiskFullError, "gone": BlobWithdrawnError, "disk": StorageError}
        self.fetching = None
        if how:
            self.queue.append(events.FetchFailed(source.blob, errors[how]("model")))
        else:
            self.fetched.add(source.blob)
            self.queue.append(events.Fetched(source.blob))

    def apply_ends(self, how: str = "") -> None:
        """The apply under way ends as the worker would end it: by what is in the booted slot now, or as `how` says."""
        assert self.applying
        target, self.applying = self.applying, None
        errors = {"full": DiskFullError, "died": WorkerDiedError, "corrupt": DeltaCorruptError}
        base = self.slots[self.slot].get(target.component)
        needs = target.source.base if target.source else target.sha256
        if how:
            self.queue.append(events.ApplyFailed(target.component, errors[how]("model")))
        elif needs is not None and needs != base:
            self.queue.append(events.ApplyFailed(target.component, BaseModifiedError("model")))
        elif target.source and target.source.blob not in self.fetched:
            self.queue.append(events.ApplyFailed(target.component, StorageError("model: no blob")))
        else:
            self.slots[other(self.slot)][target.component] = target.sha256
            self.queue.append(events.Applied(target.component, target.sha256))

    def reboot_ends(self, how: str = "") -> None:
        """The reboot that was asked for happens; `how` "fails" before the loader is told, "late" after that."""
        asked, self.rebooting = self.rebooting, ""
        if how != "fails":
            if asked == "activate":
                self.env = self.env.with_trial(other(self.slot), TRIES)
            elif self.trial and self.env.primary != self.slot:
                self.env = self.env.given_up()
        if how:
            self.queue.append(events.ActivateFailed(StorageError("model")))
        else:
            self.boot()

    def probe_ends(self, *, passes: bool) -> None:
        self.probing = False
        self.probed = passes and "sick" not in map(kind_of, self.slots[self.slot].values())
        failed = events.ProbeFailed(ProbeFailedError("model"))
        self.queue.append(events.ProbePassed() if self.probed else failed)

    # --- the server ---------------------------------------------------------------------------------------------

    def want(self, images: dict[str, Digest], *, retry: int = 0, hold: str = "", full: bool = False) -> Desired:
        """The next desired state, with deltas from what the board reported last."""
        held = self.state.images
        targets = tuple(
            Target(
                name,
                "v",
                1000,
                digest,
                None if held.get(name) == digest else source_to(digest, None if full else held.get(name)),
            )
            for name, digest in sorted(images.items())
        )
        version = self.desired.version + 1 if self.desired else 1
        before = self.desired.retry if self.desired else 0
        self.desired = Desired(
            DEVICE, version, "0" * 40, f"r{version}", "v", () if hold else targets, hold, before + retry
        )
        return self.desired

    def go_on(self) -> bool:
        """One thing that is under way goes well; False when nothing is."""
        if self.queue:
            self.decide(self.queue.popleft())
        elif self.rebooting:
            self.reboot_ends()
        elif self.probing:
            self.probe_ends(passes=True)
        elif self.applying:
            self.apply_ends()
        elif self.leaving or (self.fetching and self.put_off):
            self.now()
        elif self.fetching and self.starved:
            self.starved = False
            self.queue.append(events.FetchFlows(self.fetching.blob))
        elif self.fetching:
            self.fetch_ends()
        elif self.timer:
            self.timer = 0.0
            self.queue.append(events.Woken())
        else:
            return False
        return True

    def settle(self, limit: int = 300) -> None:
        """No more faults, until nothing is under way."""
        for _ in range(limit):
            if not self.go_on():
                return
        raise AssertionError(f"still busy after {limit} steps: {self.state}")

    @property
    def content(self) -> dict[str, Digest]:
        """What the other slot holds."""
        return self.slots[other(self.slot)]


def on(board: Board, images: dict[str, Digest]) -> bool:
    """Whether the board is idle and confirmed on these images, with evidence."""
    state = board.state
    return state.phase is Phase.IDLE and state.confirmed and dict(state.images) == images == board.slots[board.slot]
