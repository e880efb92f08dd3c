"""The demo's second act: one line of config changes on every board. One board's probe fails, and it goes back by
itself; on another, somebody edits a file by hand, and the board heals it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesync.boards import profile
from edgesync.sim.lab import Lab, LinkBytes
from edgesync.wire.ids import board_of

BOARD_TYPE = "demo-board"
CARELESS, MEDDLED = "b07", "b03"
NOTES: Mapping[str, str] = {
    CARELESS: "gets a line that its probe does not like, and goes back",
    MEDDLED: "has a file edited by hand, and heals it",
}
PROBE_SECONDS = 3
CHANGE, BY_HAND = "interval = 30", "interval = 7"
FILE = "app/app.conf"

_COMMANDS = """
[config.commands.app-probe]
run = ["/bin/grep", "--quiet", "--extended-regexp", "^interval = [0-9]+$", "{tree}/app/app.conf"]
limit = "5 s"
"""
_SETTINGS = f"""\
probe: {{commands: [app-probe], for: {PROBE_SECONDS} s}}
drift: heal
"""
_TEMPLATE = """\
# Written by edgesync from config/fleet; edit it there.
name = {{{{ board }}}}
link = {{{{ labels.link }}}}
{line}
"""
_BEFORE = "interval = 60"
_AFTER = f'{{{{ "interval = soon" if labels.ring == "careless" else "{CHANGE}" }}}}'


@dataclass(slots=True)
class ConfigStory:
    """What has become of one board's config. `seconds` from the push to the proof, or to the way back; `carried` what
    its link had carried by then; `line` the one that is in force, read from the board's own file.
    """

    start: LinkBytes
    finished: bool = False
    seconds: float = 0.0
    carried: LinkBytes = field(default_factory=lambda: LinkBytes(0, 0, ""))
    status: str = ""
    error: str = ""
    line: str = ""


def equip(lab: Lab, boards: Mapping[str, str]) -> None:
    """Give the fleet's boards a type whose config may name a probe. Before anything starts."""
    profiles = lab.directory / "profiles"
    profiles.mkdir()
    played = Path(profile.__file__).with_name("files.toml").read_text()
    (profiles / f"{BOARD_TYPE}.toml").write_text(played + _COMMANDS)
    _prepend(lab.server_config, 'profiles = "../profiles"\n')
    for name in boards:
        config = lab.directory / "boards" / name / "agent.toml"
        config.write_text(config.read_text().replace('type = "files"', f'type = "{BOARD_TYPE}"'))
        _prepend(config, 'profiles = "../../profiles"\n')


def declare(repository: Path) -> None:
    """The config of every board, as it is before the change."""
    place = repository / "config" / "fleet"
    (place / "files" / "app").mkdir(parents=True)
    (place / "config.yaml").write_text(_SETTINGS)
    _write(repository, _BEFORE)


def change(repository: Path) -> None:
    """The one line that is pushed."""
    _write(repository, _AFTER)


def in_force(lab: Lab, board: str) -> str:
    """The line that the application of a board would read now."""
    file = _file(lab, board)
    text = file.read_text() if file.exists() else ""
    return next((line for line in text.splitlines() if line.startswith("interval")), "")


class Act:
    """Watches the change. `ask` reads one path of the server's API; `commit` commits and pushes what was written."""

    def __init__(
        self, lab: Lab, ask: Callable[[str], Any], boards: Mapping[str, str], commit: Callable[[], None]
    ) -> None:
        self._lab, self._ask = lab, ask
        self._meddled_at = 0.0
        self.told: list[str] = []
        self.healed = False
        self.boards = {name: ConfigStory(lab.carried(name)) for name in boards}
        self._rollout = ask("/v1/status")["rollout"]["id"]
        change(lab.repository)
        commit()
        self._pushed = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._pushed

    @property
    def settled(self) -> bool:
        return all(story.finished for story in self.boards.values())

    @property
    def over(self) -> bool:
        return self.settled and self.healed

    @property
    def good(self) -> bool:
        return self.over and all(self.is_good(name) for name in self.boards)

    def is_good(self, name: str) -> bool:
        """Whether a board's config is the one that it should have, by its own file and by its report."""
        story = self.boards[name]
        expected = ("failed", "ProbeFailed", _BEFORE) if name == CARELESS else ("confirmed", "", CHANGE)
        return (story.status, story.error, story.line) == expected

    def look(self) -> None:
        """Ask the server, and let what is due happen."""
        status = self._ask("/v1/status")
        if status["rollout"]["id"] == self._rollout:
            return  # the server has not read the commit yet
        for told in status["boards"]:
            story = self.boards[board_of(told["device"])]
            if not story.finished and told["part"] and told["status"] in ("confirmed", "failed"):
                self._finish(board_of(told["device"]), story, told)
        if self.settled and not self._meddled_at:
            self._meddle()
        if self._meddled_at and not self.healed and in_force(self._lab, MEDDLED) == CHANGE:
            self.healed = True
            self.told.append(f"{self.elapsed:4.0f} s  {MEDDLED} has healed it")

    def attend(self) -> None:
        """Nothing here is over in a fraction of a second."""

    def cells(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """The table of this moment: headings, and a row a board."""
        return ("board", "in force", "on the air", ""), [self._cells(name) for name in self.boards]

    def _cells(self, name: str) -> list[str]:
        story = self.boards[name]
        carried = story.carried if story.finished else self._lab.carried(name).since(story.start)
        line = story.line if story.finished else in_force(self._lab, name)
        shown = f"[green]{line}[/green]" if story.finished and self.is_good(name) else line
        what = f"{story.seconds:.1f} s  {story.error}" if story.finished else ""
        return [name, shown, f"{(carried.up + carried.down) / 1000:.1f} kB", what]

    def _finish(self, name: str, story: ConfigStory, told: Mapping[str, Any]) -> None:
        story.finished, story.seconds = True, self.elapsed
        story.carried = self._lab.carried(name).since(story.start)
        story.status, story.error = told["status"], told["error"]["name"] if told["error"] else ""
        story.line = in_force(self._lab, name)
        if name == CARELESS:
            self.told.append(f"{self.elapsed:4.0f} s  {name} {NOTES[name]} ({story.error})")

    def _meddle(self) -> None:
        _file(self._lab, MEDDLED).write_text(f"{BY_HAND}\n")
        self._meddled_at = self.elapsed
        self.told.append(f"{self.elapsed:4.0f} s  {MEDDLED} {NOTES[MEDDLED]}")

    def rows(self) -> list[dict[str, Any]]:
        """For build/demo/summary.json."""
        return [
            {
                "id": name,
                "status": story.status,
                "line": story.line,
                "seconds": round(story.seconds, 1),
                "link_bytes_up": story.carried.up,
                "link_bytes_down": story.carried.down,
                "error": story.error,
                "note": NOTES.get(name, ""),
                "good": self.is_good(name),
            }
            for name, story in self.boards.items()
        ]


def _write(repository: Path, line: str) -> None:
    (repository / "config" / "fleet" / "files" / f"{FILE}.j2").write_text(_TEMPLATE.format(line=line))


def _file(lab: Lab, board: str) -> Path:
    return lab.directory / "boards" / board / "state" / "config" / "current" / FILE


def _prepend(file: Path, text: str) -> None:
    """A key of the first table stands before every other table."""
    file.write_text(text + file.read_text())
