"""Many changes of config in a row to many boards whose power, links and probes fail: each board ends at the last good
revision, and nobody who reads its config ever sees two revisions at once.

Everything is real: git, server, mosquitto, agents under their supervisors, links. Changes are pushed faster than boards
can follow, so most boards skip most of them, as they would in the field. Every seventh change has a line that the probe
refuses on every second board. A reader process opens each board's tree again and again, as an application does, and
reads all files through the directory that it opened.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesync.boards import profile
from edgesync.cli.client import Client
from edgesync.control.scaffold import Setup
from edgesync.sim import profiles
from edgesync.sim.broker import find_mosquitto
from edgesync.sim.lab import Lab
from edgesync.wire.errors import NotReachableError
from tests.bench.measure import BenchError, Figure, MissingPart, Workshop

BOARDS, CHANGES = 50, 200
FILES = 12
BAD_EVERY = 7
PUSH_EVERY = 2.0
"""Seconds between two commits."""
CALM_LIMIT = 600.0
"""Seconds after the last change until every board must be where it should be."""
OUTAGE = 4.0

_PROBE = """
[config.commands.storm-probe]
run = ["/bin/grep", "--quiet", "--line-regexp", "well", "{tree}/app/health.conf"]
limit = "10 s"
"""
_FLEET = """\
format: 1
fleet: storm
defaults: {release: v1}
waves: [{name: everyone, select: {}, success: 1 %}]
failure: {on_delta_failure: wait}
# Half of the boards fail again and again, and that is what this is about.
abort_at: 100 %
lost_after: 1 h
byte_budget: none
"""
READER = """\
import json, os, sys, time
from pathlib import Path

places, told = [Path(place) for place in sys.argv[2:]], Path(sys.argv[1])
reads, mixed = 0, []
while True:
    for place in places:
        try:
            tree = os.open(place, os.O_DIRECTORY | os.O_RDONLY)
        except FileNotFoundError:
            continue  # this board has no config yet
        try:
            app = os.open("app", os.O_DIRECTORY | os.O_RDONLY, dir_fd=tree)
            try:
                seen = set()
                for name in sorted(os.listdir(app)):
                    fd = os.open(name, os.O_RDONLY, dir_fd=app)
                    with open(fd) as file:
                        seen.add(file.readline())
            finally:
                os.close(app)
        except FileNotFoundError as error:
            mixed.append(f"{place}: {error}")
        else:
            if len(seen) != 1:
                mixed.append(f"{place}: {sorted(seen)}")
        finally:
            os.close(tree)
        reads += 1
    told.with_suffix(".tmp").write_text(json.dumps({"reads": reads, "mixed": mixed[:20]}))
    told.with_suffix(".tmp").replace(told)
    time.sleep(0.01)
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the storm left: boards that are not at the last good revision, reads of whole trees, those that were mixed,
    kills and outages; configs that proved themselves and probes that failed.
    """

    astray: Mapping[str, str]
    reads: int
    mixed: tuple[str, ...]
    kills: int
    outages: int
    switches: int
    returns: int


def run(workshop: Workshop) -> Iterator[Figure]:
    if not find_mosquitto():
        raise MissingPart("mosquitto is not installed (apt-get install mosquitto)")
    outcome = storm(workshop.room("storm"), BOARDS, CHANGES, workshop.say)
    where = f"{CHANGES} changes to {BOARDS} boards, {outcome.kills} power cuts, {outcome.outages} outages"
    yield Figure("boards not at the last good revision", len(outcome.astray), "count", where, 0)
    yield Figure("reads that saw two revisions", len(outcome.mixed), "count", f"{where}, {outcome.reads} reads", 0)
    yield Figure("configs that proved themselves", outcome.switches, "count", where, BOARDS, "at least")
    yield Figure("configs that a board took back", outcome.returns, "count", where, 1, "at least")


def storm(place: Path, boards: int, changes: int, say: Callable[[str], None], seed: int = 1) -> Outcome:
    """Raises BenchError for a fleet that does not start, or is not calm in time."""
    chance = random.Random(seed)
    image = place / "firmware.img"
    image.write_bytes(chance.randbytes(100_000))
    setup = Setup(fleet="storm", boards=boards, image=image)
    names = setup.names()
    links = dict.fromkeys(names, profiles.load("lte-256k"))
    with Lab(place / "fleet", setup, links) as lab:
        _equip(lab, names)
        _change(lab, 0, bad=False)
        lab.start_server()
        for name in names:
            lab.start_board(name)
        client = Client(lab.directory / "server" / "state" / "edgesync.sock")
        say(f"storm: {boards} boards start")
        _wait(lambda: _all_confirmed(client, boards), CALM_LIMIT, "every board to have its first config")
        with _Reading(lab, names, place) as told:
            kills, outages = _rage(lab, names, changes, chance, say)
            _change(lab, changes, bad=False)
            say("storm: calm; the last good change is pushed")
            _wait(lambda: not _astray(lab, names, changes), CALM_LIMIT, "every board to follow", lab)
            _wait(lambda: _all_confirmed(client, boards), CALM_LIMIT, "every board to say so", lab)
            _change(lab, changes + 1, bad=True, everywhere=True)
            say("storm: one more, that no board can bear")
            _wait(lambda: _all_failed(client, boards), CALM_LIMIT, "every board to go back", lab)
            time.sleep(1.0)
            seen = json.loads(told.read_text())
        astray = _astray(lab, names, changes)
        logs = [lab.log(name).read_text() for name in names]
    switches = sum(log.count("config phase probing > idle") + log.count("config is idle, was probing") for log in logs)
    returns = sum(log.count("ProbeFailed") for log in logs)
    return Outcome(astray, seen["reads"], tuple(seen["mixed"]), kills, outages, switches, returns)


def _equip(lab: Lab, names: list[str]) -> None:
    profiles_ = lab.directory / "profiles"
    profiles_.mkdir()
    (profiles_ / "storm.toml").write_text(Path(profile.__file__).with_name("files.toml").read_text() + _PROBE)
    lab.server_config.write_text('profiles = "../profiles"\n' + lab.server_config.read_text())
    for name in names:
        config = lab.directory / "boards" / name / "agent.toml"
        config.write_text('profiles = "../../profiles"\n' + config.read_text().replace('"files"', '"storm"', 1))
    declared = lab.repository / "boards" / "bench.yaml"
    lines = declared.read_text().replace("type: files", "type: storm").splitlines(keepends=True)
    odd = iter(range(len(names)))
    declared.write_text("".join(_with_site(line, odd) for line in lines))
    for release in (lab.repository / "releases").glob("*.yaml"):
        release.write_text(release.read_text().replace("[files]", "[storm]"))
    (lab.repository / "fleet.yaml").write_text(_FLEET)
    layer = lab.repository / "config" / "fleet"
    (layer / "files" / "app").mkdir(parents=True)
    (layer / "config.yaml").write_text("probe: {commands: [storm-probe], for: 1 s}\n")


def _with_site(line: str, numbers: Iterator[int]) -> str:
    return line.replace("site: bench", f"site: {'odd' if next(numbers) % 2 else 'even'}") if "site:" in line else line


def _change(lab: Lab, number: int, *, bad: bool, everywhere: bool = False) -> None:
    """Commit a revision: each file begins with its number."""
    app = lab.repository / "config" / "fleet" / "files" / "app"
    for at in range(FILES):
        (app / f"part-{at}.conf").write_text(f"revision = {number}\n" + f"key = {at}\n" * 20)
    ill = "ill" if everywhere else '{{ "ill" if labels.site == "odd" else "well" }}'
    (app / "health.conf.j2").write_text(f"revision = {number}\n{ill if bad else 'well'}\n")
    identity = ["-c", "user.name=storm", "-c", "user.email=storm@example.com", "-c", "commit.gpgSign=false"]
    for command in (["add", "--all"], ["commit", "--quiet", f"--message=Change {number}"]):
        subprocess.run(["git", "-C", str(lab.repository), *identity, *command], check=True, timeout=60)


def _rage(
    lab: Lab, names: list[str], changes: int, chance: random.Random, say: Callable[[str], None]
) -> tuple[int, int]:
    """Changes, power cuts and outages; how many of the latter two."""
    kills = outages = 0
    unplugged: dict[str, float] = {}
    for number in range(1, changes):
        _change(lab, number, bad=number % BAD_EVERY == 3)
        due = time.monotonic() + PUSH_EVERY
        while time.monotonic() < due:
            name = chance.choice(names)
            if chance.random() < 0.5:
                lab.power_cut(name)
                kills += 1
            elif name not in unplugged:
                lab.unplug(name)
                unplugged[name] = time.monotonic() + OUTAGE
                outages += 1
            for gone in [name for name, until in unplugged.items() if time.monotonic() > until]:
                lab.plug(gone)
                del unplugged[gone]
            time.sleep(chance.uniform(0.1, 0.6))
        if number % 20 == 0:
            say(f"storm: change {number} of {changes}")
    for name in unplugged:
        lab.plug(name)
    return kills, outages


class _Reading:
    """A process that reads every board's tree while the block lasts, and the file that it writes what it saw to."""

    def __init__(self, lab: Lab, names: list[str], place: Path) -> None:
        self._told = place / "reader.json"
        trees = [str(lab.directory / "boards" / name / "state" / "config" / "current") for name in names]
        self._command = [sys.executable, "-c", READER, str(self._told), *trees]

    def __enter__(self) -> Path:
        self._process = subprocess.Popen(self._command)
        _wait(self._told.exists, 60.0, "the reader's first look")
        return self._told

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _astray(lab: Lab, names: list[str], number: int) -> dict[str, str]:
    """Boards whose tree is not that of revision `number`, with what they have."""
    found = {}
    for name in names:
        file = lab.directory / "boards" / name / "state" / "config" / "current" / "app" / "part-0.conf"
        line = file.read_text().partition("\n")[0] if file.exists() else "nothing"
        if line != f"revision = {number}":
            found[name] = line
    return found


def _boards(client: Client) -> list[Any]:
    try:
        boards: list[Any] = client.get("/v1/status")["boards"]
    except NotReachableError:
        return []  # the server is still starting
    return boards


def _all_confirmed(client: Client, count: int) -> bool:
    boards = _boards(client)
    return len(boards) == count and all(board["status"] == "confirmed" for board in boards)


def _all_failed(client: Client, count: int) -> bool:
    boards = _boards(client)
    return len(boards) == count and all(board["status"] in ("failed", "waiting") for board in boards)


def _wait(condition: Callable[[], object], limit: float, what: str, lab: Lab | None = None) -> None:
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"waited {limit:.0f} s in vain for {what}" + (f"; logs: {lab.directory}" if lab else ""))
        time.sleep(0.5)
