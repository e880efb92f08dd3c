"""What each board shall run, compiled from a checked fleet, and how two fleets differ. Pure.

The release of a board is its own, else that of the groups that match it, else the fleet's default. A board with none
of these keeps its firmware, and one without config (`trees`) its config; with neither it is watched and left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgesync.control.types import Board, Fleet, Group, Image, Wanted, Wave
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Manners

Kind = Literal["added", "removed", "image", "type", "key"]


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit changes for one board.

    `kind` "image": `component` goes from `old` to `new`; "added" and "removed": the board itself, once for each of
    its images, or once without a component; "type", "key": its declaration. `wave` names the wave of the new fleet, or
    of the old one for a board that is removed.
    """

    device: DeviceId
    kind: Kind
    wave: str
    component: str = ""
    old: Image | None = None
    new: Image | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "change": self.kind,
            "wave": self.wave,
            "component": self.component,
            "old": _brief(self.old),
            "new": _brief(self.new),
        }


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


def changes(old: Fleet | None, new: Fleet) -> list[Change]:
    """What changes for each board from one fleet to another, sorted by board. Without an old one all is added."""
    before = compile_fleet(old) if old else {}
    after = compile_fleet(new)
    result: list[Change] = []
    for device in sorted({*(old.boards if old else ()), *new.boards}):
        was, now = old.boards.get(device) if old else None, new.boards.get(device)
        images = _images(before.get(device)), _images(after.get(device))
        if now is None:
            assert old is not None
            assert was is not None
            result += _whole("removed", device, _wave(old, was), *images)
        elif was is None:
            result += _whole("added", device, _wave(new, now), *images)
        else:
            result += _differences(was, now, _wave(new, now), *images)
    return result


def _whole(
    kind: Kind, device: DeviceId, wave: str, before: dict[str, Image], after: dict[str, Image]
) -> Iterable[Change]:
    names = sorted({*before, *after}) or [""]
    return (Change(device, kind, wave, name, before.get(name), after.get(name)) for name in names)


def _differences(
    was: Board, now: Board, wave: str, before: dict[str, Image], after: dict[str, Image]
) -> Iterable[Change]:
    if was.type != now.type:
        yield Change(now.device, "type", wave)
    if was.key != now.key:
        yield Change(now.device, "key", wave)
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if (old.sha256 if old else None) != (new.sha256 if new else None):
            yield Change(now.device, "image", wave, name, old, new)


def _images(wanted: Wanted | None) -> dict[str, Image]:
    return dict(wanted.images) if wanted else {}


def _wave(fleet: Fleet, board: Board) -> str:
    number = wave_of(board, fleet.waves)
    return fleet.waves[number].name if number is not None else ""


def _brief(image: Image | None) -> dict[str, str] | None:
    return {"version": image.version, "sha256": image.sha256} if image else None
