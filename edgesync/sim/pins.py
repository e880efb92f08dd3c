"""`firmware.toml` as values: which wheels make which image, and the digest of each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesync.wire.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel: `file` is its name on the index, `size` in bytes."""

    name: str
    version: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """One image: `size` in bytes and digest as built, and the version of each package in it."""

    name: str
    size: int
    sha256: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pins:
    """All of `firmware.toml`. `root` is the path of every file in an image, `mtime` its time in seconds since 1970."""

    images: Mapping[str, Image]
    wheels: Mapping[tuple[str, str], Wheel]
    pip_options: tuple[str, ...]
    root: str
    mtime: int

    def image(self, name: str) -> Image:
        """Raises ConfigError for a name that is not pinned."""
        if name not in self.images:
            raise ConfigError(f"image: found {name!r}, expected one of {', '.join(self.images)}")
        return self.images[name]

    def wheels_of(self, names: Iterable[str]) -> list[Wheel]:
        """The wheels of these images, each once, in the order of the images."""
        keys = dict.fromkeys(package for name in names for package in self.image(name).packages.items())
        return [self.wheels[key] for key in keys]


def load_pins() -> Pins:
    """The pins that come with this version."""
    top: dict[str, Any] = tomllib.loads(Path(__file__).with_name("firmware.toml").read_text())
    return Pins(
        {name: Image(name, **image) for name, image in top["images"].items()},
        {(wheel["name"], wheel["version"]): Wheel(**wheel) for wheel in top["wheel"]},
        pip_options(top["pip"]),
        top["tar"]["root"],
        top["tar"]["mtime"],
    )


def pip_options(pip: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of pip for a table with `python_version`, `implementation` and `platforms`."""
    options = ["--python-version", pip["python_version"], "--implementation", pip["implementation"]]
    for platform in pip["platforms"]:
        options += ["--platform", platform]
    return tuple(options)
