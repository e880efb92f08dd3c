"""Values that the server's stages pass on: the fleet as its repository declares it, and what each board shall run.

Sizes are bytes, durations seconds, fractions 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgesync.wire.ids import DeviceId, Digest
from edgesync.wire.messages import Manners

Labels = Mapping[str, str]

REGULAR, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000
"""Modes of files, as git keeps them."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the fleet repository. `mode` is git's; what is neither REGULAR nor EXECUTABLE (a link, a submodule,
    a device) was not read and has no data.
    """

    data: bytes
    mode: int = REGULAR


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a release. `path` is relative to the images directory; `compatible` lists board types. `file` and
    `line` say where it is declared: they are for messages and make no difference between two images.
    """

    component: str
    path: str
    version: str
    sha256: Digest
    compatible: tuple[str, ...]
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    name: str
    images: Mapping[str, Image]


@dataclass(frozen=True, slots=True)
class Selector:
    """Matches boards whose labels have every one of these values; an empty selector matches every board."""

    labels: Labels = field(default_factory=dict)

    def matches(self, labels: Labels) -> bool:
        return all(labels.get(key) == value for key, value in self.labels.items())


@dataclass(frozen=True, slots=True)
class Group:
    """Boards that share settings. Where several groups match a board and set different releases, or set the same of
    the `manners` (by the names of `Manners`), that is an error.
    """

    name: str
    select: Selector
    release: str | None = None
    manners: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wave:
    """A step of a rollout: boards that `select` matches and no earlier wave took. The next wave opens when at least
    `success` of the boards that were reached are confirmed.
    """

    name: str
    select: Selector
    success: float = 1.0


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the week in which the boards that `select` matches may be offered something new ("allow"), or may not
    ("deny"). It opens on each of `days` (0 is Monday) at `start` and closes at `end`, both in minutes of the local day
    of `timezone` (a name of the IANA data base); an `end` that is not after `start` is on the next day.
    """

    name: str
    select: Selector
    days: frozenset[int]
    start: int
    end: int
    timezone: str
    kind: Literal["allow", "deny"]


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What to do when a delta does not work on a board.

    "wait": leave it until another release; "fail": count it as failed at once; "full": send the full image if it is
    at most `full_limit` bytes, else fail.
    """

    on_delta_failure: Literal["wait", "fail", "full"] = "wait"
    full_limit: int = 0


@dataclass(frozen=True, slots=True)
class Board:
    """One board as declared: its type (a file in `edgesync.boards`), labels, the public half of its report key
    (Ed25519, 64 hex digits), and what it has of release and `manners` for itself.
    """

    device: DeviceId
    type: str
    labels: Labels
    key: str
    release: str | None = None
    manners: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigBundle:
    """The config of one board as a bundle (`wire.bundle`): its digest, its length in bytes, the `requires` that has to
    be met before it is switched to ("" for nothing), and its bytes. Boards with the same config share one.
    """

    sha256: Digest
    length: int
    requires: str
    data: bytes = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A whole fleet repository at one commit, checked.

    `abort_at` is the fraction of reached boards whose failure (or loss) aborts the rollout; `lost_after` the seconds
    of silence after activation that count as lost; `manners` those of boards that have none of their own. `configs`
    has the config of each board that has any.
    """

    name: str
    revision: str
    boards: Mapping[DeviceId, Board]
    groups: tuple[Group, ...]
    releases: Mapping[str, Release]
    waves: tuple[Wave, ...]
    default_release: str | None = None
    failure: FailurePolicy = field(default_factory=FailurePolicy)
    abort_at: float = 0.1
    lost_after: float = 3600.0
    manners: Manners = field(default_factory=Manners)
    http_source: str = ""
    windows: tuple[Window, ...] = ()
    configs: Mapping[DeviceId, ConfigBundle] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one board shall run, compiled from a Fleet: release name, its images by component, the wave it is in; its
    config, None where the repository has none for it: the board's is then left as it is; and its manners on the link.
    """

    device: DeviceId
    release: str
    images: Mapping[str, Image]
    wave: int
    config: ConfigBundle | None = None
    manners: Manners = field(default_factory=Manners)
