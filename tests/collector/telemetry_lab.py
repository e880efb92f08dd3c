"""A lab of real processes whose one board tells a lot, for tests of the whole way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgesync.control.images import HashCache
from edgesync.control.scaffold import Setup
from edgesync.sim import profiles
from edgesync.sim.lab import Lab

LIMIT = 90.0


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.5)
    return found


@contextlib.contextmanager
def telling(place: Path) -> Iterator[Lab]:
    """With the board b01, which tells every second; nothing runs yet."""
    image = place / "firmware.img"
    image.write_bytes(os.urandom(200_000))
    setup = Setup(boards=1, image=image)
    with Lab(place / "lab", setup, {"b01": profiles.load("lte-256k")}) as running:
        board = running.directory / "boards/b01"
        text = (board / "agent.toml").read_text()
        assert "# [collector]\n# config" in text
        (board / "agent.toml").write_text(text.replace("# [collector]\n# config", "[collector]\nconfig"))
        faster = (board / "collector.yaml").read_text().replace("60s", "1s")
        (board / "collector.yaml").write_text(faster)
        yield running


def collector(lab: Lab, *more: Path) -> subprocess.Popen[bytes]:
    """The one of `edgesync init`, with more files over its own."""
    config = lab.directory / "collector/collector.yaml"
    config.write_text(config.read_text().replace("localhost:13133", "localhost:0"))
    files = [option for path in (config, *more) for option in ("--config", str(path))]
    with lab.log("collector").open("ab") as log:
        command = [sys.executable, "-m", "collector_ext.main", *files]
        return lab.popen(command, stdout=log, stderr=log, start_new_session=True)


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """It is stopped at the end of the block."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def ship(lab: Lab) -> None:
    """Commit a release v2."""
    (lab.directory / "images/v2.img").write_bytes(os.urandom(100_000))
    digest = HashCache().digest(lab.directory / "images/v2.img")
    release = f"name: v2\nimages:\n  firmware: {{path: v2.img, version: '2', sha256: {digest}, compatible: [files]}}\n"
    (lab.repository / "releases/v2.yaml").write_text(release)
    fleet = lab.repository / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("release: v1", "release: v2", 1))
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgSign=false"]
    for command in (["add", "--all"], ["commit", "--quiet", "--message=Ship v2"]):
        subprocess.run(["git", "-C", str(lab.repository), *identity, *command], check=True, timeout=60)
