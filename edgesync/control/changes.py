"""How two fleets differ: what a commit would change on each board. Pure.

Boards that go from the same bundle of config to the same other one share one comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from edgesync.control.desired import compile_fleet, wave_of
from edgesync.control.policies import written
from edgesync.control.types import Board, ConfigBundle, Fleet, Image, Wanted
from edgesync.wire.bundle import Bundle, BundleFile, decode
from edgesync.wire.ids import DeviceId, digest_of

Kind = Literal["added", "removed", "image", "type", "key", "file", "setting", "manners"]
Value = Image | BundleFile | str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit changes for one board.

    `kind` "image": the component `name` goes from `old` to `new`; "added" and "removed": the board itself, once for
    each of its images, or once without a name; "type", "key": its declaration; "file": the file `name` of its config;
    "setting": what its config asks of it; "manners": one of them. `wave` names the wave of the new fleet, or of the old
    one for a board that is removed.
    """

    device: DeviceId
    kind: Kind
    wave: str
    name: str = ""
    old: Value = None
    new: Value = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "change": self.kind,
            "wave": self.wave,
            "component": self.name if isinstance(self.old or self.new, Image) else "",
            "name": self.name,
            "old": _brief(self.old),
            "new": _brief(self.new),
        }


def changes(old: Fleet | None, new: Fleet) -> list[Change]:
    """What changes for each board from one fleet to another, sorted by board. Without an old one all is added."""
    before = compile_fleet(old) if old else {}
    after = compile_fleet(new)
    result: list[Change] = []
    for device in sorted({*(old.boards if old else ()), *new.boards}):
        was, now = old.boards.get(device) if old else None, new.boards.get(device)
        wanted = before.get(device), after.get(device)
        if now is None:
            assert old is not None
            assert was is not None
            result += _whole("removed", device, _wave(old, was), *wanted)
        elif was is None:
            result += _whole("added", device, _wave(new, now), *wanted)
        else:
            result += _differences(was, now, _wave(new, now), *wanted)
    return result


def _whole(kind: Kind, device: DeviceId, wave: str, before: Wanted | None, after: Wanted | None) -> Iterable[Change]:
    old, new = _images(before), _images(after)
    names = sorted({*old, *new}) or [""]
    return (Change(device, kind, wave, name, old.get(name), new.get(name)) for name in names)


def _differences(was: Board, now: Board, wave: str, before: Wanted | None, after: Wanted | None) -> Iterator[Change]:
    if was.type != now.type:
        yield Change(now.device, "type", wave)
    if was.key != now.key:
        yield Change(now.device, "key", wave)
    olds, news = _images(before), _images(after)
    for name in sorted({*olds, *news}):
        old, new = olds.get(name), news.get(name)
        if (old.sha256 if old else None) != (new.sha256 if new else None):
            yield Change(now.device, "image", wave, name, old, new)
    for kind, name, was_it, is_it in _config(before.config if before else None, after.config if after else None):
        yield Change(now.device, kind, wave, name, was_it, is_it)
    if before and after and before.manners != after.manners:
        said, says = written(before.manners), written(after.manners)
        for name in sorted({*said, *says}):
            if said.get(name) != says.get(name):
                yield Change(now.device, "manners", wave, name, said.get(name), says.get(name))


@lru_cache(maxsize=4096)
def _config(old: ConfigBundle | None, new: ConfigBundle | None) -> tuple[tuple[Kind, str, Value, Value], ...]:
    if old == new:
        return ()
    if new is None:
        return (("setting", "config", "from git", "left as it is"),)
    was, now = _decoded(old), _decoded(new)
    found: list[tuple[Kind, str, Value, Value]] = [
        ("file", path, was.files.get(path), now.files.get(path))
        for path in sorted({*was.files, *now.files})
        if was.files.get(path) != now.files.get(path)
    ]
    olds, news = _settings(old, was), _settings(new, now)
    found += [
        ("setting", name, olds.get(name), news.get(name))
        for name in sorted({*olds, *news})
        if olds.get(name) != news.get(name)
    ]
    return tuple(found)


def _decoded(config: ConfigBundle | None) -> Bundle:
    return decode(config.data) if config else Bundle()


def _settings(config: ConfigBundle | None, bundle: Bundle) -> Mapping[str, str]:
    """What is asked of a board, as text."""
    if config is None:
        return {}
    settings = bundle.settings
    probe = f"{', '.join(settings.probe)} for {settings.probe_seconds} s" if settings.probe else ""
    found = {
        "requires": config.requires,
        "check": ", ".join(settings.check),
        "reload": ", ".join(settings.reload),
        "probe": probe,
        "drift": settings.drift,
    }
    return {name: text for name, text in found.items() if text}


def _images(wanted: Wanted | None) -> Mapping[str, Image]:
    return wanted.images if wanted else {}


def _wave(fleet: Fleet, board: Board) -> str:
    number = wave_of(board, fleet.waves)
    return fleet.waves[number].name if number is not None else ""


def _brief(value: Value) -> dict[str, str | int] | str | None:
    match value:
        case Image():
            return {"version": value.version, "sha256": value.sha256}
        case BundleFile():
            return {"mode": f"{value.mode:04o}", "size": len(value.data), "sha256": digest_of(value.data)}
    return value
