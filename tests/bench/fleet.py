"""A small fleet on real parts for the benchmarks: every board runs demo-v1, and one push brings demo-v2 to all at once.

Broker, server, agents and links are those of the demo (`edgesync.sim.lab`), the configurations what `edgesync init`
writes. What a board did is read from its own log and its signed reports, what it cost from its link.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, final

from edgesync.cli.client import Client
from edgesync.control.scaffold import COMPONENT, Setup
from edgesync.sim.broker import find_mosquitto
from edgesync.sim.lab import Lab, LinkBytes
from edgesync.sim.profiles import LinkProfile
from edgesync.wire.errors import NotReachableError
from tests.bench.measure import BenchError, MissingPart, Workshop, sha256

FLEET = "bench"
SETTLE_LIMIT = 120.0
"""Seconds until every board has proved demo-v1."""
QUIET = 3.0
"""Seconds without a byte after which a link counts as idle: more than two round trips of 600 ms."""

_FLEET = """\
format: 1
fleet: bench
defaults: {{release: {release}}}
waves: [{{name: everyone, select: {{}}, success: 50 %}}]
failure: {{on_delta_failure: wait}}
abort_at: 100 %
lost_after: 1 h
byte_budget: none
"""
_RELEASE = """\
name: v2
images:
  {component}: {{path: {path}, version: v2, sha256: {sha256}, compatible: [files]}}
"""


@final
class Fleet:
    """Boards b01, b02, ... behind `links`, in that order, with `manners` as they are written in YAML. `push` once."""

    def __init__(
        self,
        workshop: Workshop,
        name: str,
        links: Mapping[str, LinkProfile],
        manners: Mapping[str, str] | None = None,
    ) -> None:
        if not find_mosquitto():
            raise MissingPart("mosquitto is not installed (apt-get install mosquitto)")
        self._say = workshop.say
        self._wanted = workshop.image("demo-v2")
        self._digest = sha256(self._wanted)
        setup = Setup(fleet=FLEET, boards=len(links), image=workshop.image("demo-v1"))
        self.lab = Lab(workshop.place / name, setup, links)
        self.links, self.boards, self._manners = dict(links), tuple(links), dict(manners or {})
        self._client = Client(self.lab.directory / "server" / "state" / "edgesync.sock")

    def __enter__(self) -> Fleet:
        self._say(f"starting the server and {len(self.boards)} boards")
        self.lab.__enter__()
        try:
            self._mind_manners()
            self._commit("v1", "Describe the benchmark's fleet")
            shutil.copyfile(self._wanted, self.lab.directory / "images" / self._wanted.name)
            self.lab.start_server()
            for board in self.boards:
                self.lab.start_board(board)
            self.wait(self._settled, SETTLE_LIMIT, "every board to prove demo-v1")
        except BaseException:
            self.lab.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.__exit__(None, None, None)

    def push(self) -> None:
        release = _RELEASE.format(component=COMPONENT, path=self._wanted.name, sha256=self._digest)
        (self.lab.repository / "releases" / "v2.yaml").write_text(release)
        self._commit("v2", "Roll out v2")
        self._say("pushed demo-v2")

    def configure(self, files: Mapping[str, str], message: str) -> None:
        """Push these files (by their path) as config of the whole fleet."""
        for path, text in files.items():
            place = self.lab.repository / "config" / "fleet" / "files" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        self._commit("v1", message)

    def reported(self, board: str) -> Mapping[str, Any] | None:
        """The newest report that the server has accepted of a board."""
        answer: Mapping[str, Any] | None = self._client.get(f"/v1/boards/{FLEET}.{board}")["reported"]
        return answer

    def confirmed(self, board: str) -> bool:
        """Whether the board has proved demo-v2, with nothing left to do."""
        told = self.reported(board)
        if told is None:
            return False
        proved = told["confirmed"] and told["images"].get(COMPONENT) == self._digest
        return bool(proved and told["phase"] == "idle")

    def wait(self, condition: Callable[[], bool], limit: float, what: str, every: float = 0.25) -> None:
        """Raises BenchError after `limit` seconds."""
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise BenchError(f"waited {limit:.0f} s in vain for {what}; logs: {self.lab.directory}/*.log")
            time.sleep(every)

    def quiet(self, board: str) -> LinkBytes:
        """What the link has carried when it has been idle for a while: acknowledgements still count."""
        carried, since = self.lab.carried(board), time.monotonic()
        end = since + SETTLE_LIMIT
        while time.monotonic() - since < QUIET:
            if time.monotonic() > end:
                raise BenchError(f"{board}: its link was not idle for {QUIET:.0f} s in {SETTLE_LIMIT:.0f} s")
            time.sleep(0.1)
            now = self.lab.carried(board)
            if now != carried:
                carried, since = now, time.monotonic()
        return carried

    # --- a board's log ------------------------------------------------------------------------------------------

    def log(self, board: str) -> str:
        return self.lab.log(board).read_text()

    def blob_length(self, board: str) -> int:
        """Bytes of the blob that the board fetches; 0 before it has begun."""
        found = re.search(r"fetch blob=\w+ bytes=(\d+)", self.log(board))
        return int(found[1]) if found else 0

    def moment(self, board: str, text: str) -> float:
        """Unix seconds of the first line with this text. Raises BenchError where there is none."""
        return self.moments(board, text)[0]

    def moments(self, board: str, text: str) -> list[float]:
        """Unix seconds of every line with this text. Raises BenchError where there is none."""
        found = re.findall(rf"^(\S+ \S+),(\d+) .*{re.escape(text)}", self.log(board), re.MULTILINE)
        if not found:
            raise BenchError(f"{self.lab.log(board)}: has no line with {text!r}")
        return [datetime.fromisoformat(day).timestamp() + int(millis) / 1000 for day, millis in found]

    def agent(self, board: str) -> int:
        """The process id of the agent that runs now; 0 for none."""
        events = [json.loads(line) for line in self.log(board).splitlines() if line.startswith("{")]
        last = [event for event in events if event["event"] in ("agent-start", "agent-exit")][-1:]
        return last[0]["pid"] if last and last[0]["event"] == "agent-start" else 0

    def kill_agent(self, board: str) -> None:
        os.kill(self.agent(board), signal.SIGKILL)

    # --- inside -------------------------------------------------------------------------------------------------

    def _settled(self) -> bool:
        try:
            boards = self._client.get("/v1/status")["boards"]
        except NotReachableError:
            return False  # the server is still starting
        return bool(boards) and all(board["status"] == "confirmed" for board in boards)

    def _mind_manners(self) -> None:
        for place in (self.lab.repository / "boards").glob("*.yaml"):
            text = place.read_text()
            for board, manners in self._manners.items():
                text = text.replace(f"- id: {board}\n", f"- id: {board}\n    manners: {manners}\n")
            place.write_text(text)

    def _commit(self, release: str, message: str) -> None:
        """As an operator does it, hooks and all."""
        repository = self.lab.repository
        (repository / "fleet.yaml").write_text(_FLEET.format(release=release))
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgSign=false"]
        for command in (["add", "--all"], ["commit", "--quiet", f"--message={message}"]):
            subprocess.run(["git", "-C", str(repository), *identity, *command], check=True, timeout=60)
