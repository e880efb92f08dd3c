"""What one command took: CPU seconds, peak memory in bytes, wall seconds, and its own figures if it prints any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LIMIT = 3600
"""Seconds for one command."""
ROOT = Path(__file__).parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Took:
    """CPU seconds of the process and of its children, the same without its imports (None for a program that does not
    say), peak resident memory in bytes of all processes together, and wall seconds.
    """

    cpu: float
    work: float | None
    peak: int
    wall: float

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


class CommandFailedError(Exception):
    """A command of a peer ended with an error, or not at all."""


def run(command: Sequence[str], directory: Path, stdout: Path | None = None) -> Took:
    """Run a command in `directory`. Raises CommandFailedError with its last words."""
    said = stdout or directory / "stdout"
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), str(said), *command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, errors = launcher.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(f"{command[0]}: no end after {LIMIT} s") from error
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
    figures = json.loads(out.splitlines()[-1])
    if figures["status"]:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise CommandFailedError(f"{' '.join(command[:3])}: status {figures['status']}: {last[-300:]}")
    work = None if stdout else _work(said)
    return Took(figures["cpu"], work, figures["peak"], figures["wall"])


def _work(said: Path) -> float | None:
    """A peer in Python prints the CPU seconds of the call itself."""
    try:
        value = json.loads(said.read_text().strip().rpartition("\n")[2] or "null")
    except ValueError:
        return None
    return value.get("work") if isinstance(value, dict) else None
