"""What the decider of the config asks for: values, performed by the configurator after the state that asks for them is
on the disk. Each may be asked for again after a crash, and performing it twice is as good as once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesync.agent.effects import Fetch, Forget, Report, Stop, WakeAfter
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ConfigTarget

Name = Digest | Literal[""]
"""A tree by the digest of its bundle; "" for no tree at all."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make this bundle, write its tree beside the one in force, and let the checks judge it."""

    target: ConfigTarget


@dataclass(frozen=True, slots=True)
class Try:
    """Switch to this tree, let applications reload it, and probe."""

    config: Digest


@dataclass(frozen=True, slots=True)
class GoBack:
    """Switch to the tree that was in force before, and let applications reload it, those of the `failed` tree too; with
    `quiet` nobody is told to.
    """

    config: Name
    failed: Name
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Heal:
    """Write the tree in force anew beside itself, and switch."""

    config: Digest


@dataclass(frozen=True, slots=True)
class Prune:
    """Remove every bundle and tree but these."""

    keep: tuple[Digest, ...]


Effect = Fetch | Stop | Forget | Prepare | Try | GoBack | Heal | Prune | Report | WakeAfter
