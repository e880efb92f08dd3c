"""The demo's story: twelve boards, a push, and what goes wrong on the way. The table and the summary's print are the
command's (`edgesync.cli.demo`); here is who lives where, what is pushed, which fault hits whom and when, and the truth
at the end.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesync.control.scaffold import COMPONENT
from edgesync.sim import demo_config, profiles
from edgesync.sim.lab import Lab, LinkBytes
from edgesync.sim.profiles import LinkProfile
from edgesync.wire.ids import Digest, board_of

FLEET = "demo"
FAST, SLOW = "lte-256k", "narrow-32k"
BOARDS: Mapping[str, str] = {f"b{n:02}": FAST if n <= 8 else SLOW for n in range(1, 13)}
CANARY, KILLED_APPLYING, UNPLUGGED, BAD_IMAGE, KILLED_FETCHING = "b01", "b04", "b05", "b06", "b10"
UNPLUGGED_FOR = 20.0
"""Seconds."""
MID_DOWNLOAD = 0.4
"""The part of its blob that a board has when its fault strikes."""

NOTES: Mapping[str, str] = {
    CANARY: "goes first, as the canary wave",
    KILLED_APPLYING: "loses power in mid-apply",
    UNPLUGGED: f"loses its link for {UNPLUGGED_FOR:.0f} s in mid-download",
    BAD_IMAGE: "is sent an image that does not boot, and falls back",
    KILLED_FETCHING: "loses power in mid-download",
}

IDENTITY = ("-c", "user.name=demo", "-c", "user.email=demo@example.com", "-c", "commit.gpgSign=false")

_FLEET = """\
format: 1
fleet: demo
defaults: {{release: {release}}}
groups:
  experimental: {{select: {{ring: experimental}}{experiment}}}
waves:
  - {{name: canary, select: {{ring: canary}}, success: 100 %}}
  - {{name: everyone, select: {{}}, success: 90 %}}
failure: {{on_delta_failure: wait}}
# One board of twelve fails on purpose, and that shall not stop the others, also where its verdict is the second of all.
abort_at: 60 %
lost_after: 10 min
byte_budget: 1 MB
"""
_RELEASE = """\
name: {name}
images:
  {component}: {{path: {path}, version: "{name}", sha256: {sha256}, compatible: [{kind}]}}
"""


@dataclass(frozen=True, slots=True)
class Image:
    """One release of the demo: its name, its file, its digest and size in bytes."""

    release: str
    path: Path
    sha256: Digest
    size: int


@dataclass(slots=True)
class BoardStory:
    """What has become of one board. `confirmed` is the release that it has proved to run, "" for none known yet;
    `seconds` from the push to that proof; times of the story are seconds since the push.
    """

    name: str
    profile: LinkProfile
    expected: str
    before: str
    confirmed: str = ""
    finished: bool = False
    seconds: float = 0.0
    start: LinkBytes = field(default_factory=lambda: LinkBytes(0, 0, ""))
    carried: LinkBytes = field(default_factory=lambda: LinkBytes(0, 0, ""))
    phases: list[str] = field(default_factory=list)
    status: Mapping[str, Any] = field(default_factory=dict)
    traffic: Mapping[str, int] = field(default_factory=dict)
    error: Mapping[str, str] | None = None

    @property
    def good(self) -> bool:
        return self.finished and self.confirmed == self.expected


def declare(lab: Lab) -> None:
    """The fleet as it is before the push: labels, waves, release v1 everywhere. Commits."""
    boards = lab.repository / "boards" / "bench.yaml"
    rings = {CANARY: "canary", BAD_IMAGE: "experimental", demo_config.CARELESS: "careless"}
    keys = re.findall(r"id: (\S+).*?key: ([0-9a-f]{64})", boards.read_text(), re.DOTALL)
    lines = [
        f"  - {{id: {name}, type: {demo_config.BOARD_TYPE}, key: {key}, "
        f"labels: {{ring: {rings.get(name, 'field')}, link: {BOARDS[name]}}}}}"
        for name, key in keys
    ]
    boards.write_text("\n".join(["boards:", *lines]) + "\n")
    for release in (lab.repository / "releases").glob("*.yaml"):
        release.write_text(release.read_text().replace("[files]", f"[{demo_config.BOARD_TYPE}]"))
    (lab.repository / "fleet.yaml").write_text(_FLEET.format(release="v1", experiment=""))
    demo_config.equip(lab, BOARDS)
    demo_config.declare(lab.repository)
    commit(lab.repository, "Describe the demo's fleet")


def push(lab: Lab, wanted: Image, experiment: Image) -> None:
    """The push that the demo is about: `wanted` for all, `experiment` for one."""
    for image in (wanted, experiment):
        text = _RELEASE.format(
            name=image.release,
            component=COMPONENT,
            path=image.path.name,
            sha256=image.sha256,
            kind=demo_config.BOARD_TYPE,
        )
        (lab.repository / "releases" / f"{image.release}.yaml").write_text(text)
    experimental = f", release: {experiment.release}"
    (lab.repository / "fleet.yaml").write_text(_FLEET.format(release=wanted.release, experiment=experimental))
    commit(lab.repository, f"Roll out {wanted.release}, and try {experiment.release} on one board")


def end_experiment(lab: Lab, wanted: Image, before: str) -> None:
    """What goes with the second push: the board that was sent something bad stays on what it runs."""
    (lab.repository / "fleet.yaml").write_text(_FLEET.format(release=wanted.release, experiment=f", release: {before}"))


def commit(repository: Path, message: str) -> None:
    """As an operator does it, hooks and all."""
    for command in (["add", "--all"], ["commit", "--quiet", f"--message={message}"]):
        subprocess.run(["git", "-C", str(repository), *IDENTITY, *command], check=True, timeout=60)


class Story:
    """Watches the fleet after the push, lets each fault strike once at its moment, and knows when it is over.

    `ask` reads one path of the server's API.
    """

    def __init__(
        self, lab: Lab, ask: Callable[[str], Any], images: Mapping[str, Image], expected: Mapping[str, str]
    ) -> None:
        self._lab, self._ask = lab, ask
        self._images = images
        self._releases = {image.sha256: image.release for image in images.values()}
        self._pushed = time.monotonic()
        self._struck: set[str] = set()
        self._log_read: dict[str, int] = {}
        self.told: list[str] = []
        self.boards = {
            name: BoardStory(name, profiles.load(profile), expected[name], "v1", start=lab.carried(name))
            for name, profile in BOARDS.items()
        }
        self._plug_at = 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._pushed

    @property
    def over(self) -> bool:
        return all(board.finished for board in self.boards.values())

    @property
    def good(self) -> bool:
        return all(board.good for board in self.boards.values())

    def look(self) -> None:
        """Ask the server, and let what is due happen."""
        for told in self._ask("/v1/status")["boards"]:
            board = self.boards[board_of(told["device"])]
            board.status = told
            if not board.finished:
                self._follow(board, told)
        self._strike()

    def _follow(self, board: BoardStory, told: Mapping[str, Any]) -> None:
        phase = told["phase"]
        if phase and board.phases[-1:] != [phase]:
            board.phases.append(phase)
        board.carried = self._lab.carried(board.name).since(board.start)
        if told["part"] and told["status"] in ("confirmed", "failed") and told["release"] != board.before:
            reported = self._ask(f"/v1/boards/{told['device']}")["reported"]
            # A board that was sent something bad is where it should be when it is back on its old slot.
            if reported["confirmed"] and reported["phase"] in ("idle", "failed"):
                board.confirmed = self._releases.get(reported["images"].get(COMPONENT), "")
                board.traffic, board.error = reported["traffic"], told["error"]
                board.finished, board.seconds = True, self.elapsed

    # --- faults -------------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        if self._half_way(KILLED_FETCHING) and self._once(KILLED_FETCHING):
            self._lab.power_cut(KILLED_FETCHING)
        if self._half_way(UNPLUGGED) and self._once(UNPLUGGED):
            self._lab.unplug(UNPLUGGED)
            self._plug_at = self.elapsed + UNPLUGGED_FOR
        if self._plug_at and self.elapsed >= self._plug_at:
            self._plug_at = 0.0
            self._lab.plug(UNPLUGGED)
            self.told.append(f"{self.elapsed:4.0f} s  {UNPLUGGED} has its link back")

    def attend(self) -> None:
        """Call often: an apply takes a fraction of a second, and its power cut must fall into it."""
        if KILLED_APPLYING in self._struck:
            return
        path = self._lab.log(KILLED_APPLYING)
        with path.open("rb") as log:
            log.seek(self._log_read.get(KILLED_APPLYING, 0))
            news = log.read()
        self._log_read[KILLED_APPLYING] = path.stat().st_size
        if b"edgesync.apply apply component" in news and self._once(KILLED_APPLYING):
            self._lab.power_cut(KILLED_APPLYING)

    def _half_way(self, board: str) -> bool:
        """By what its link has carried: a report of its progress comes only now and then."""
        story = self.boards[board]
        total = story.status.get("total", 0)
        return bool(total) and self._lab.carried(board).since(story.start).down >= MID_DOWNLOAD * total

    def _once(self, board: str) -> bool:
        if board in self._struck:
            return False
        self._struck.add(board)
        self.told.append(f"{self.elapsed:4.0f} s  {board} {NOTES[board]}")
        return True

    # --- telling ------------------------------------------------------------------------------------------------

    def cells(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """The table of this moment: headings, and a row a board."""
        headings = ("board", "link", "phase", "fetched", "rate", "left", "on the air", "runs", "")
        return headings, [self._cells(board) for board in self.boards.values()]

    def _cells(self, board: BoardStory) -> list[str]:
        told = board.status
        done, total, rate, left = (told.get(key) or 0 for key in ("done", "total", "rate", "left"))
        what = f"{board.seconds:.0f} s" if board.finished else ""
        if board.finished and board.error:
            what += f"  {board.error['name']}"
        phase = told.get("phase") or ""
        return [
            board.name,
            board.profile.name,
            f"[green]{phase}[/green]" if board.good else phase,
            f"{done / 1000:.0f} / {total / 1000:.0f} kB" if total and not board.finished else "",
            f"{rate / 1000:.1f} kB/s" if rate and not board.finished else "",
            f"{left:.0f} s" if left and not board.finished else "",
            f"{(board.carried.up + board.carried.down) / 1000:.0f} kB",
            board.confirmed or board.before,
            what,
        ]

    # --- the end ------------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """build/demo/summary.json."""
        return {
            "link_bytes_at": next(iter(self.boards.values())).start.level,
            "broker": self._lab.broker_name,
            "broker_identity": self._lab.broker.identity,
            "seconds": round(self.elapsed, 1),
            "boards": [self._row(board) for board in self.boards.values()],
        }

    def _row(self, board: BoardStory) -> dict[str, Any]:
        return {
            "id": board.name,
            "link": board.profile.name,
            "expected": board.expected,
            "confirmed": board.confirmed,
            "image_bytes": self._images[board.expected].size,
            "blob_bytes": board.traffic.get("blob", 0),
            "link_bytes_up": board.carried.up,
            "link_bytes_down": board.carried.down,
            "seconds": round(board.seconds, 1),
            "refetched_bytes": board.traffic.get("refetched", 0),
            "phases": board.phases,
            "error": board.error["name"] if board.error else "",
            "note": NOTES.get(board.name, ""),
        }
