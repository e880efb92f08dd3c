"""What the decider of the config is told: values, made by the configurator and its stages. What the downloader and the
server say are the events of `edgesync.agent.events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesync.agent.events import Cleared, FetchEvent, Wanted, Woken
from edgesync.agent.tree.effects import Name
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.ids import Digest


@dataclass(frozen=True, slots=True)
class Started:
    """The agent has started. Of the firmware: the boot, the images in the booted slot, whether they have proved
    themselves. Of the config: the bundle that the link names, `verified` where bundle and tree are there to prove it,
    and the bundles that are on the disk whole (`kept`).
    """

    boot_id: str
    images: Mapping[str, Digest]
    confirmed: bool
    linked: Name
    verified: bool
    kept: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The booted firmware has proved itself."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tree of this bundle stands beside the one in force, and every check has passed it."""

    config: Digest


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    config: Digest
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Switched:
    """The link names the tree of this bundle."""

    config: Digest


@dataclass(frozen=True, slots=True)
class SwitchFailed:
    """The link names what it named before."""

    config: Digest
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Proved:
    """Applications have reloaded it, and the probes held for as long as they were asked to."""

    config: Digest


@dataclass(frozen=True, slots=True)
class Disproved:
    """A reload or a probe failed."""

    config: Digest
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class WentBack:
    """The link names the tree of this bundle again, or is gone ("")."""

    config: Name


@dataclass(frozen=True, slots=True)
class GoBackFailed:
    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Drifted:
    """The tree that the link names ("" for none) was compared with its bundle: so many of its names differ. `heal`: the
    bundle asks to have that undone.
    """

    config: Name
    count: int
    heal: bool


@dataclass(frozen=True, slots=True)
class Healed:
    config: Digest


@dataclass(frozen=True, slots=True)
class HealFailed:
    config: Digest
    error: EdgesyncError


Event = (
    Started
    | Confirmed
    | Wanted
    | Cleared
    | FetchEvent
    | Prepared
    | PrepareFailed
    | Switched
    | SwitchFailed
    | Proved
    | Disproved
    | WentBack
    | GoBackFailed
    | Drifted
    | Healed
    | HealFailed
    | Woken
)
