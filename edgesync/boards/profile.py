"""Board types: one TOML file each, read strictly, and the boot backend that a type names.

The files lie beside this module; an operator's own lie in a directory that server.toml and agent.toml name, and come
first.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgesync.boards.allow import pattern_problem
from edgesync.boards.backend import BootBackend
from edgesync.boards.files import FilesBackend
from edgesync.host.files import read_limited
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import is_label

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
FILE_LIMIT = 64 * 1024
"""Bytes of one board type's file."""
TREE = "{tree}"
"""Stands in a command's arguments for the absolute path of the config tree that it is about."""
NAME_LIMIT = 64
"""Characters of a command's name."""
PATTERNS_LIMIT = 100
COMMANDS_LIMIT = 50
LIMIT_SECONDS = (1, 3600)
"""Least and most seconds that a command may be given."""
Backend = Literal["files"]

_KEYS = {
    "format": int,
    "summary": str,
    "backend": str,
    "components": list,
    "boot": dict,
    "limits": dict,
    "config": dict,
}
_BOOT = {"tries": int, "confirm_seconds": int}
_LIMITS = {"worker_memory_mib": int, "staging_mib": int, "apply_seconds": int, "slowness": int}
_CONFIG = {"allow": list, "commands": dict}
_COMMAND = {"run": list, "limit": str}
_DURATION = re.compile(r"([0-9]{1,6}) ?(s|min|h)")
_UNITS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the board's image that config may ask for by name: `run` is its path and arguments, no shell;
    `limit` the seconds after which it is killed.
    """

    run: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class ConfigProfile:
    """What config may do to a board: hold files at paths that `allow` matches, and name these commands."""

    allow: tuple[str, ...]
    commands: Mapping[str, Command]


@dataclass(frozen=True, slots=True)
class BoardProfile:
    """What a board type is. `components` are the names that a release may use on it, empty for any; `tries` the boots
    of an activated slot before the old one comes back; `confirm_seconds` the time that a slot has to become healthy;
    `worker_memory` bytes of resident memory of a worker process; `staging` bytes of a blob while it is fetched;
    `apply_seconds` of CPU time that making an image may take; `slowness`: how many times longer the board's core takes
    than the one of docs/delta-engine.md. The server sends nothing that goes beyond these four.
    """

    name: str
    summary: str
    backend: Backend
    components: tuple[str, ...]
    tries: int
    confirm_seconds: int
    worker_memory: int
    staging: int
    apply_seconds: int
    slowness: int
    config: ConfigProfile


def names(directory: Path | None = None) -> tuple[str, ...]:
    """The board types that this version knows and those in an operator's own directory, sorted.

    Raises ConfigError for a directory that is not there, and for a file in it whose name is none of a type.
    """
    return tuple(sorted(_places(directory)))


def load(name: str, directory: Path | None = None) -> BoardProfile:
    """The profile of one board type. Raises ConfigError for a name that is not in `names()` and for a file that is
    wrong, StorageError for one that cannot be read.
    """
    places = _places(directory)
    if name not in places:
        raise ConfigError(f"board type: found {name!r}, expected one of {', '.join(sorted(places))}")
    place = places[name]
    return parse(name, read_limited(str(place), FILE_LIMIT), place.name if place.parent == _package() else str(place))


def parse(name: str, data: bytes, where: str) -> BoardProfile:
    """A profile from the bytes of its file. Raises ConfigError naming the file (`where`), key, what was found and
    expected.
    """
    try:
        top = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error
    _exactly(where, "", top, _KEYS)
    _exactly(where, "boot.", top["boot"], _BOOT)
    _exactly(where, "limits.", top["limits"], _LIMITS)
    if top["format"] != FORMAT:
        raise _wrong(where, "format", top["format"], f"{FORMAT}")
    if top["backend"] != "files":
        raise _wrong(where, "backend", top["backend"], "'files'")
    for component in top["components"]:
        if not isinstance(component, str) or not is_label(component):
            raise _wrong(where, "components", component, "names of [a-z0-9-]")
    return BoardProfile(
        name,
        top["summary"],
        "files",
        tuple(top["components"]),
        _within(where, "boot.tries", top["boot"]["tries"], (1, 10), "boots"),
        _within(where, "boot.confirm_seconds", top["boot"]["confirm_seconds"], (1, 3600), "seconds"),
        _within(where, "limits.worker_memory_mib", top["limits"]["worker_memory_mib"], (32, 4096), "MiB") << 20,
        _within(where, "limits.staging_mib", top["limits"]["staging_mib"], (1, 1 << 16), "MiB") << 20,
        _within(where, "limits.apply_seconds", top["limits"]["apply_seconds"], (1, 7 * 86400), "seconds"),
        _within(where, "limits.slowness", top["limits"]["slowness"], (1, 1000), "times"),
        _config(where, top["config"]),
    )


def command(board: BoardProfile, name: str) -> Command:
    """A command that is run without a tree. Raises ConfigError for a name that the profile does not have, and for one
    whose arguments ask for a tree.
    """
    found = board.config.commands.get(name)
    if found is None:
        known = ", ".join(sorted(board.config.commands)) or "none"
        raise ConfigError(f"command {name!r}: board type {board.name} has {known}")
    if any(TREE in word for word in found.run):
        raise ConfigError(f"command {name!r} of board type {board.name}: it asks for a config tree, and there is none")
    return found


def open_backend(profile: BoardProfile, root: Path) -> BootBackend:
    """The boot backend of a board of this type. `root` is the directory of its slots."""
    return FilesBackend(root, profile.tries)


def _config(where: str, table: Mapping[str, Any]) -> ConfigProfile:
    _exactly(where, "config.", table, _CONFIG)
    for key, limit in (("allow", PATTERNS_LIMIT), ("commands", COMMANDS_LIMIT)):
        if len(table[key]) > limit:
            raise _wrong(where, f"config.{key}", len(table[key]), f"at most {limit}")
    for pattern in table["allow"]:
        if not isinstance(pattern, str):
            raise _wrong(where, "config.allow", pattern, "patterns of paths such as 'app/**'")
        if problem := pattern_problem(pattern):
            raise _wrong(where, "config.allow", pattern, problem)
    return ConfigProfile(
        tuple(table["allow"]), {name: _command(where, name, value) for name, value in table["commands"].items()}
    )


def _command(where: str, name: str, value: object) -> Command:
    key = f"config.commands.{name}"
    if not is_label(name) or len(name) > NAME_LIMIT:
        raise _wrong(where, "config.commands", name, f"names of [a-z0-9-], at most {NAME_LIMIT} characters")
    if not isinstance(value, dict):
        raise _wrong(where, key, value, "a table")
    _exactly(where, f"{key}.", value, _COMMAND)
    run = value["run"]
    if not all(isinstance(word, str) and "\0" not in word for word in run):
        raise _wrong(where, f"{key}.run", run, "an array of text")
    # A program named by the tree would be code that the image does not hold.
    if not run or not run[0].startswith("/") or TREE in run[0]:
        raise _wrong(where, f"{key}.run", run, f"the absolute path of a program and its arguments, {TREE} among these")
    found = _DURATION.fullmatch(value["limit"])
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not LIMIT_SECONDS[0] <= seconds <= LIMIT_SECONDS[1]:
        raise _wrong(where, f"{key}.limit", value["limit"], "a time from 1 s to 1 h such as '10 s'")
    return Command(tuple(run), seconds)


def _places(directory: Path | None) -> dict[str, Path]:
    """Where the file of each board type lies."""
    if directory is not None and not directory.is_dir():
        raise ConfigError(f"{directory}: no such directory, expected one of board types (<type>.toml)")
    found = {path.stem: path for path in _package().glob("*.toml")}
    for path in directory.glob("*.toml") if directory else ():
        if not is_label(path.stem):
            raise ConfigError(f"{path}: found the name {path.stem!r}, expected a board type of [a-z0-9-]")
        found[path.stem] = path
    return found


def _package() -> Path:
    # Beside this module rather than through importlib.resources, which costs the resident agent memory.
    return Path(__file__).parent


def _exactly(where: str, prefix: str, found: Mapping[str, Any], expected: Mapping[str, type]) -> None:
    for key in found.keys() - expected.keys():
        raise ConfigError(f"{where}: unknown key {prefix}{key}, expected {', '.join(expected)}")
    for key, kind in expected.items():
        if key not in found:
            raise ConfigError(f"{where}: key {prefix}{key} is missing, expected {_KINDS[kind]}")
        if type(found[key]) is not kind:
            raise _wrong(where, prefix + key, found[key], _KINDS[kind])


_KINDS: Mapping[type, str] = {int: "a whole number", str: "text", list: "an array", dict: "a table"}


def _within(where: str, key: str, value: int, limits: tuple[int, int], unit: str) -> int:
    if not limits[0] <= value <= limits[1]:
        raise _wrong(where, key, value, f"{limits[0]} to {limits[1]} {unit}")
    return value


def _wrong(where: str, key: str, found: object, expected: str) -> ConfigError:
    return ConfigError(f"{where}: key {key}: found {str(found)[:60]!r}, expected {expected}")
