"""What the board's decider asks for: values, performed by the runner after the state that asks for them is on the disk.
Each may be asked for again after a crash, and performing it twice is as good as once.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesync.wire.ids import BlobId
from edgesync.wire.messages import Source, Target


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get this blob; answers `Fetched` at once when it is there. Replaces any other fetch."""

    source: Source


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop fetching and applying, between pieces; what is there stays."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove what was fetched for every blob but this one."""

    keep: BlobId | None


@dataclass(frozen=True, slots=True)
class Apply:
    """Make this image in the other slot: from its blob, or by copying the booted one (`source` None)."""

    target: Target


@dataclass(frozen=True, slots=True)
class Activate:
    """Let the boot loader try the other slot, then reboot."""


@dataclass(frozen=True, slots=True)
class Reboot:
    """Reboot without activating: a slot on trial then falls back."""


@dataclass(frozen=True, slots=True)
class MarkGood:
    pass


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out whether this boot is healthy, within the deadline of the board's configuration."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the server within so many seconds; the newest state wins, and one message tells all that is true by then."""

    within: float = 0.0


@dataclass(frozen=True, slots=True)
class WakeAfter:
    seconds: float


Effect = Fetch | Stop | Forget | Apply | Activate | Reboot | MarkGood | Probe | Report | WakeAfter
