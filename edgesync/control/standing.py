"""Values of a rollout: where each board stands, where the fleet stands, what happens to them, what shall be done.

No behaviour beyond reading themselves; the rules are in `edgesync.control.rollout`. Times are seconds since 1970.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal, NamedTuple

from edgesync.control.means import NO_CODER, Means
from edgesync.control.planner import BlobKey, Blobs, Built, Stock
from edgesync.control.types import Fleet, Wanted
from edgesync.wire.ids import BlobId, DeviceId, Digest
from edgesync.wire.messages import ConfigPhase, ConfigTarget, Desired, ErrorReport, Phase, Reported

Digests = Mapping[str, Digest]
ConfigDigest = Digest | Literal[""]
"""Of a bundle; "" where a board has no config, or says nothing of it."""
RolloutPhase = Literal["idle", "running", "done", "aborted", "failed"]


class Status(str, Enum):
    """Where a board stands in the rollout, in the server's words."""

    WAITING = "waiting"  # its wave is closed; or, with an error, parked until another release or a retry
    BUILDING = "building"  # its blob is being made or published
    OFFERED = "offered"  # its desired state is published, it has not answered
    PENDING = "pending"  # silent before activation: never counts
    ACTING = "acting"  # it says that it works on it
    ACTIVATED = "activated"  # it rebooted into the new slot, or is about to; or it probes the config it switched to
    CONFIRMED = "confirmed"  # evidence from the booted slot
    FAILED = "failed"
    LOST = "lost"  # silent after activation


BAD = frozenset({Status.FAILED, Status.LOST})
REACHED = frozenset({Status.ACTING, Status.ACTIVATED, Status.CONFIRMED}) | BAD


@dataclass(frozen=True, slots=True)
class Offered:
    """The desired state in force for a board, and what the board had reported when it was offered: the evidence of an
    activation is measured against that. `expires` (s): when its signature ends. `first` is the version under which it
    was first said: signing it anew makes a new version, and no board has to begin anew for it. Of a hold, `held` is the
    `first` of what it stops: a board may still say how that ended.

    The config of `desired` has no source here, only in what is signed. `config_base` is the config that the board had;
    `whole`: it gets the new one whole, for a delta did not work there. `mixed`: one of its deltas needs the
    context-mixing coder.
    """

    desired: Desired
    boot_id: str
    base: Digests
    at: float
    expires: float
    first: int
    config_base: ConfigDigest = ""
    whole: bool = False
    held: int = 0
    mixed: bool = False

    @property
    def digests(self) -> dict[str, Digest]:
        return {target.component: target.sha256 for target in self.desired.targets}

    @property
    def has_delta(self) -> bool:
        return any(target.source and target.source.kind == "delta" for target in self.desired.targets)

    @property
    def blobs(self) -> frozenset[BlobId]:
        """Those of firmware."""
        return frozenset(target.source.blob for target in self.desired.targets if target.source)

    @property
    def new_images(self) -> frozenset[Digest]:
        return frozenset(target.sha256 for target in self.desired.targets if target.source)

    @property
    def new_config(self) -> ConfigDigest:
        """The config that the board did not have; "" where it had it, or is offered none."""
        target = self.desired.config
        return target.sha256 if target and target.sha256 != self.config_base else ""


@dataclass(frozen=True, slots=True)
class Standing:
    """One board. `part`: it counts in the active rollout. `since` (s): when `status` became what it is; `seen` (s): its
    last verified report. `retry` grows with each retry; `delta_failed` is what it said of a delta that will never
    work there, `mixed_failed` the same of a mixed one, `config_whole` that it said so of a delta of config;
    `quarantine` holds digests that failed on it, of images and of config.
    """

    wanted: Wanted
    status: Status = Status.WAITING
    part: bool = True
    error: ErrorReport | None = None
    since: float = 0.0
    reported: Reported | None = None
    seen: float = 0.0
    offered: Offered | None = None
    retry: int = 0
    delta_failed: ErrorReport | None = None
    quarantine: frozenset[Digest] = frozenset()
    config_whole: bool = False
    mixed_failed: ErrorReport | None = None

    @property
    def device(self) -> DeviceId:
        return self.wanted.device

    @property
    def wants(self) -> dict[str, Digest]:
        return {component: image.sha256 for component, image in self.wanted.images.items()}

    @property
    def holds(self) -> dict[str, Digest]:
        """What it reports of the components that are wanted."""
        images = self.reported.images if self.reported else {}
        return {component: images[component] for component in self.wanted.images if component in images}

    @property
    def wants_config(self) -> ConfigTarget | None:
        bundle = self.wanted.config
        return ConfigTarget(bundle.sha256, bundle.length, bundle.requires) if bundle else None

    @property
    def holds_config(self) -> ConfigDigest:
        return self.reported.config.sha256 if self.reported and self.reported.config else ""

    @property
    def unmixed(self) -> str:
        """Why it gets no delta that needs the context-mixing coder; "" where it may."""
        report, failed = self.reported, self.mixed_failed
        if report is None or not report.mixing:
            return NO_CODER
        return f"{failed.name}: {failed.detail}" if failed else ""

    @property
    def parked(self) -> bool:
        return self.status is Status.WAITING and self.error is not None

    @property
    def unsettled(self) -> bool:
        """Between two slots or two configs: what it reports now is not what it will hold in a minute."""
        report = self.reported
        return report is not None and (report.phase in (Phase.ACTIVATING, Phase.CONFIRMING) or self.probing)

    @property
    def probing(self) -> bool:
        """It switched to a config that has not proved itself, and may take it off the network."""
        report = self.reported
        return report is not None and report.config is not None and report.config.phase is ConfigPhase.PROBING


class Place(NamedTuple):
    """Where boards stand alike, for the rollout as a whole."""

    wave: int
    status: Status
    parked: bool


Tally = Mapping[Place, int]
"""How many boards that take part stand where; no place without boards."""


def tally(boards: Iterable[Standing]) -> Tally:
    return Counter(_place(board) for board in boards if board.part)


def retally(before: Tally, old: Standing, new: Standing) -> Tally:
    """The tally after one board moved: thousands of them must not be counted for each report."""
    if (_place(old), old.part) == (_place(new), new.part):
        return before
    after = Counter(before)
    after.update([_place(new)] if new.part else [])
    after.subtract([_place(old)] if old.part else [])
    return +after


def _place(board: Standing) -> Place:
    return Place(board.wanted.wave, board.status, board.parked)


@dataclass(frozen=True, slots=True)
class Spec:
    """A revision, compiled: what each board shall run, the sizes (bytes) of all stored images, the commit's author and
    subject, what a board can carry by its type (a board that is not there: what `Means()` says), and whether this
    server can make mixed deltas.
    """

    fleet: Fleet
    wanted: Mapping[DeviceId, Wanted]
    sizes: Mapping[Digest, int]
    author: str = ""
    subject: str = ""
    means: Mapping[DeviceId, Means] = field(default_factory=dict)
    mixing: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """The fleet. `author`, `subject` are the commit's, `started` (s) is when it was seen. `open_waves` counts from the
    first; `quarantine` holds digests that no board is offered any more; `listening` (s) is since when the broker is
    heard, or None: silence is only silence where one could hear. `tally` counts the boards.
    """

    spec: Spec | None = None
    rollout: str = ""
    revision: str = ""
    author: str = ""
    subject: str = ""
    started: float = 0.0
    phase: RolloutPhase = "idle"
    reason: str = ""
    paused: bool = False
    open_waves: int = 0
    boards: Mapping[DeviceId, Standing] = field(default_factory=dict)
    blobs: Blobs = field(default_factory=dict)
    quarantine: frozenset[Digest] = frozenset()
    listening: float | None = None
    tally: Tally = field(default_factory=dict, compare=False)

    @property
    def stock(self) -> Stock:
        assert self.spec is not None
        fleet = self.spec.fleet
        return Stock(self.spec.sizes, self.blobs, fleet.failure, fleet.http_source, self.spec.mixing)

    def means_of(self, board: Standing) -> Means:
        """What the board can carry, by its type and its own word."""
        assert self.spec is not None
        means = self.spec.means.get(board.device, Means())
        plain = board.reported is not None and board.reported.plain
        return replace(means, numpy=not plain, unmixed=board.unmixed)

    @property
    def made(self) -> frozenset[BlobId]:
        return frozenset(made.blob for made in self.blobs.values() if isinstance(made, Built))


# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewRevision:
    spec: Spec


@dataclass(frozen=True, slots=True)
class BoardReported:
    """A report whose signature and counter were checked."""

    reported: Reported


@dataclass(frozen=True, slots=True)
class Listening:
    """The broker is heard (or no longer)."""

    on: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Pause:
    pass


@dataclass(frozen=True, slots=True)
class Resume:
    pass


@dataclass(frozen=True, slots=True)
class Abort:
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Lift quarantine and start again what failed or was lost: one board, or with None everything."""

    device: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class BlobReady:
    """Made and kept. It is published before the first desired state that names it."""

    key: BlobKey
    built: Built


@dataclass(frozen=True, slots=True)
class BlobGone:
    """Not on the server's disk any more, or not whole."""

    key: BlobKey


@dataclass(frozen=True, slots=True)
class BlobFailed:
    key: BlobKey
    error: ErrorReport


Event = (
    NewRevision | BoardReported | Listening | Tick | Pause | Resume | Abort | Retry | BlobReady | BlobGone | BlobFailed
)


# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """Sign and publish."""

    offered: Offered


@dataclass(frozen=True, slots=True)
class Hold:
    """Sign and publish: the board shall stop where it is."""

    offered: Offered


@dataclass(frozen=True, slots=True)
class EnsureBlob:
    """Make, then say BlobReady or BlobFailed."""

    key: BlobKey


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make this blob ahead, if no board waits for any other, then say BlobReady or BlobFailed."""

    key: BlobKey


@dataclass(frozen=True, slots=True)
class Republish:
    """A board asked for it and the broker gave nothing."""

    blob: BlobId


@dataclass(frozen=True, slots=True)
class RepublishConfig:
    """The same for the blob of a board's own config, if it is the one that is offered."""

    device: DeviceId
    blob: BlobId


@dataclass(frozen=True, slots=True)
class Forget:
    """The board left the fleet: withdraw its desired state."""

    device: DeviceId


Effect = Offer | Hold | EnsureBlob | Prepare | Republish | RepublishConfig | Forget
