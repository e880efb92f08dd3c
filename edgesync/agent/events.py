"""What the board's decider is told: values, made by the runner and the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesync.wire.errors import EdgesyncError
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import Desired


@dataclass(frozen=True, slots=True)
class Booted:
    """The agent has started: the boot loader's evidence and the digest of each component in the booted slot."""

    boot_id: str
    slot: str
    trial: bool
    fell_back: bool
    images: Mapping[str, Digest]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A desired state arrived and its signature, device, version and expiry are right."""

    desired: Desired


@dataclass(frozen=True, slots=True)
class Cleared:
    """The desired state was cleared from the broker. Unsigned, so it can stop a fetch and nothing more."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """A message was refused, or the clock ran backwards. It costs a report and changes nothing else, and it does not
    hide the error that the board stands still for.
    """

    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Fetched:
    blob: BlobId


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """The fetch has stopped."""

    blob: BlobId
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class FetchStarved:
    """The broker does not give this blob. The fetch stays subscribed and goes on by itself when it comes."""

    blob: BlobId
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class FetchFlows:
    """Bytes of a starved blob arrive again."""

    blob: BlobId


@dataclass(frozen=True, slots=True)
class PutOff:
    """Something says "not now" to the fetch of this blob, or with None to what would put the update in force. Whoever
    asked goes on asking.
    """

    blob: BlobId | None
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class LetThrough:
    """What was put off may be done. The fetch goes on by itself."""

    blob: BlobId | None


@dataclass(frozen=True, slots=True)
class Applied:
    component: str
    sha256: Digest


@dataclass(frozen=True, slots=True)
class ApplyFailed:
    component: str
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class ActivateFailed:
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class ProbePassed:
    pass


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Woken:
    """The time asked for with `WakeAfter` has come."""


FetchEvent = Fetched | FetchFailed | FetchStarved | FetchFlows | PutOff | LetThrough | Noticed
"""What a fetch says, of firmware as of config."""
Event = (
    Booted
    | Wanted
    | Cleared
    | Noticed
    | Fetched
    | FetchFailed
    | FetchStarved
    | FetchFlows
    | PutOff
    | LetThrough
    | Applied
    | ApplyFailed
    | ActivateFailed
    | ProbePassed
    | ProbeFailed
    | Woken
)
