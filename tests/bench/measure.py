"""What the benchmarks share: a figure with its limit, a place to work in, and what one command takes.

Machines are shared and their clocks lie: figures are bytes, memory, CPU seconds, and ratios within one run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgesync.delta import mixing
from edgesync.sim import firmware
from edgesync.wire.ids import Digest

MIB = 1 << 20
KIB = 1 << 10
IMAGES = ("demo-v1", "demo-v2", "demo-v3")
COMMAND_LIMIT = 1200
"""Seconds for one measured command."""

Say = Callable[[str], None]


class BenchError(Exception):
    """A benchmark could not measure what it says it measures."""


class MissingPart(Exception):  # noqa: N818 - it is the machine's lack and nobody's error
    """This machine cannot run the benchmark; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `limit` is in the same unit and `sense` says which side of it is good; None where nothing
    is promised.
    """

    name: str
    value: float
    unit: str
    conditions: str
    limit: float | None = None
    sense: str = "at most"

    @property
    def ok(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.sense == "at least" else self.value <= self.limit

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command and its children took: CPU seconds, and the peak resident bytes of the largest process."""

    cpu: float
    peak: int


class Workshop:
    """`place` is this run's own directory; `say` prints a line of progress. Images and deltas are made once a run."""

    def __init__(self, place: Path, images: Path, say: Say) -> None:
        self.place, self.say, self._images = place, say, images
        self.delta = functools.cache(self._delta)
        self.image = functools.cache(self._image)

    def room(self, name: str) -> Path:
        """A new directory for one benchmark."""
        path = self.place / name
        path.mkdir(parents=True)
        return path

    def _image(self, name: str) -> Path:
        """One of the demo's images, of which the demo has the same copy."""
        return firmware.prepare(self._images, (name,), lambda what, *_: self.say(what))[name]

    def _delta(self, base: str, result: str) -> tuple[Path, Taken]:
        """The delta between two of the demo's images, as boards with the coder get it, and what making it took."""
        out = self.place / f"{base}-{result}.delta"
        self.say(f"making the delta {base} > {result}")
        paths = [str(path) for path in (self.image(base), self.image(result), out)]
        coder = ["--mixing"] if mixing.available() else []
        return out, taken_by([sys.executable, "-m", "edgesync.delta.make", *coder, *paths])


def shown(value: float, unit: str) -> str:
    """A value as a person reads it."""
    if unit == "bytes":
        return f"{value / MIB:,.1f} MiB" if value >= MIB else f"{value:,.0f} bytes"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:,.1f} {unit}" if unit else f"{value:,.3f}"


def sha256(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def taken_by(argv: Sequence[str]) -> Taken:
    """Run a command to its end. Raises BenchError with its last words if it fails, or if its peak cannot be told.

    A child's peak as the kernel accounts it is never below that of the process that started it, so a bare
    interpreter stands between this process and the command (`tests.bench.lone`), and says how large it was itself.
    """
    command = [sys.executable, "-m", "tests.bench.lone", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_LIMIT, check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(argv)[:200]}: {done.stderr.strip()[-600:]}")
    told = json.loads(done.stdout)
    if told["peak"] <= told["own"]:
        raise BenchError(f"{argv[0]}: its peak is hidden below the {told['own']} bytes of the process that started it")
    return Taken(told["cpu"], told["peak"])
