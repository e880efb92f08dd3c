"""A fleet while it is read: the values so far, where each was declared, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesync.boards.profile import BoardProfile
from edgesync.control.parse import Place, Problem
from edgesync.control.types import Board, Fleet, Group, Release, Wave
from edgesync.wire.ids import DeviceId

BoardTypes = Mapping[str, BoardProfile]
"""The board types that a fleet may have, by name."""


@dataclass(slots=True)
class Draft:
    """`places` is keyed by kind and name, such as ("release", "v2") or ("image", "v2", "rootfs")."""

    types: BoardTypes
    name: str = ""
    boards: dict[DeviceId, Board] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    waves: list[Wave] = field(default_factory=list)
    default_release: str | None = None
    settings: Fleet = field(default_factory=lambda: Fleet("", "", {}, (), {}, ()))
    incomplete: set[str] = field(default_factory=set)
    places: dict[tuple[str, ...], Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
