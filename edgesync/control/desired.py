"""What each board shall run, compiled from a checked fleet. Pure.

The release of a board is its own, else that of the groups that match it, else the fleet's default. A board with none
of these keeps its firmware, and one without config (`trees`) its config; with neither it is watched and left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgesync.control.types import Board, Fleet, Group, Wanted, Wave
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Manners


def group_releases(groups: Iterable[Group], board: Board) -> dict[str, str]:
    """The groups that match a board and set a release: group name to release name. More than one release among them
    is a conflict, unless the board sets its own.
    """
    return {g.name: g.release for g in groups if g.release is not None and g.select.matches(board.labels)}


def release_of(board: Board, groups: Iterable[Group], default: str | None) -> str | None:
    """The name of the release that a board shall run."""
    if board.release is not None:
        return board.release
    return next(iter(group_releases(groups, board).values()), default)


def group_manners(groups: Iterable[Group], board: Board) -> dict[str, list[Group]]:
    """Of each of the manners, the groups that match a board and set it. More than one is a conflict, unless the board
    sets its own.
    """
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.manners and group.select.matches(board.labels):
            for name in group.manners:
                found.setdefault(name, []).append(group)
    return found


def manners_of(board: Board, groups: Iterable[Group], fleet: Manners) -> Manners:
    """How a board shall behave on its link."""
    of_groups = {name: found[0].manners[name] for name, found in group_manners(groups, board).items()}
    return replace(fleet, **{**of_groups, **board.manners}) if of_groups or board.manners else fleet


def wave_of(board: Board, waves: Sequence[Wave]) -> int | None:
    """The number of the first wave that takes a board."""
    return next((number for number, wave in enumerate(waves) if wave.select.matches(board.labels)), None)


def compile_fleet(fleet: Fleet) -> dict[DeviceId, Wanted]:
    """What each board shall run; boards with neither a release nor config are left out."""
    wanted = {}
    for device, board in fleet.boards.items():
        release = release_of(board, fleet.groups, fleet.default_release)
        config = fleet.configs.get(device)
        wave = wave_of(board, fleet.waves)
        if (release is not None or config is not None) and wave is not None:
            images = fleet.releases[release].images if release is not None else {}
            manners = manners_of(board, fleet.groups, fleet.manners)
            wanted[device] = Wanted(device, release or "", images, wave, config, manners)
    return wanted
