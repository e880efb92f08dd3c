"""Board types: one TOML file each beside this module, read strictly, and the boot backend that a type names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgesync.boards.backend import BootBackend
from edgesync.boards.files import FilesBackend
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import is_label

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
Backend = Literal["files"]

_KEYS = {"format": int, "summary": str, "backend": str, "components": list, "boot": dict, "limits": dict}
_BOOT = {"tries": int, "confirm_seconds": int}
_LIMITS = {"worker_memory_mib": int}


@dataclass(frozen=True, slots=True)
class BoardProfile:
    """What a board type is. `components` are the names that a release may use on it, empty for any; `tries` the boots
    of an activated slot before the old one comes back; `confirm_seconds` the time that a slot has to become healthy;
    `worker_memory` bytes of resident memory of a worker process.
    """

    name: str
    summary: str
    backend: Backend
    components: tuple[str, ...]
    tries: int
    confirm_seconds: int
    worker_memory: int


def names() -> tuple[str, ...]:
    """The board types that this version knows, sorted."""
    return tuple(sorted(path.stem for path in _directory().glob("*.toml")))


def load(name: str) -> BoardProfile:
    """The profile of one board type. Raises ConfigError for a name that is not in `names()`."""
    known = names()
    if name not in known:
        raise ConfigError(f"board type: found {name!r}, expected one of {', '.join(known)}")
    return parse(name, (_directory() / f"{name}.toml").read_bytes())


def parse(name: str, data: bytes) -> BoardProfile:
    """A profile from the bytes of its file. Raises ConfigError naming file, key, what was found and expected."""
    where = f"{name}.toml"
    try:
        top = tomllib.loads(data.decode())
    except ValueError as error:
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
    )


def open_backend(profile: BoardProfile, root: Path) -> BootBackend:
    """The boot backend of a board of this type. `root` is the directory of its slots."""
    return FilesBackend(root, profile.tries)


def _directory() -> Path:
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
