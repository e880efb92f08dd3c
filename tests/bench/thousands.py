"""What one changed line costs the server where each of 10,000 boards has a config of its own: compile, decide, delta,
sign, save, publish.

Real git, the real server as a process of its own, real mosquitto on loopback; the boards are their signed messages,
all over one connection, whose processor time counts nowhere.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesync.cli.client import Client
from edgesync.sim.broker import find_mosquitto
from edgesync.wire.errors import NotReachableError
from tests.bench.measure import BenchError, Figure, MissingPart, Workshop
from tests.control import serverlab

BOARDS = 10_000
LIMIT = 60.0
"""CPU seconds of server and broker together: what one core has done after a minute."""
PATIENCE = 1200.0
"""Seconds for each of: the fleet's first config, the changed line, its confirmation."""

_TEMPLATE = "# {{ board }} of {{ fleet }}\nid: {{ device }}\nring: {{ labels.ring }}\n" + "".join(
    f"sensor-{n}: {{interval: {n * 7 % 60}, unit: mm}}\n" for n in range(48)
)
"""1.6 KB, and another text on each board."""
_BEFORE, _AFTER = "{interval: 35", "{interval: 36"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of the server (its git and children with it) and of the broker; the longest that a question to the
    API waited meanwhile (s).
    """

    server: float
    broker: float
    asked: float

    @property
    def cpu(self) -> float:
        return self.server + self.broker


def run(workshop: Workshop, boards: int = BOARDS) -> Iterator[Figure]:
    if not find_mosquitto():
        raise MissingPart("mosquitto is not installed (apt-get install mosquitto)")
    where = f"a changed line in {boards:,} different configs of 1.6 KB, mosquitto on loopback"
    published, confirmed, sizes = asyncio.run(_measure(workshop, workshop.room(f"thousands-{boards}"), boards))
    yield Figure("commit to published, CPU of server and broker", published.cpu, "s", where, LIMIT)
    yield Figure("of these, the broker", published.broker, "s", where)
    yield Figure("the boards' reports until all are confirmed, CPU", confirmed.cpu, "s", where)
    yield Figure("longest wait for a line of history meanwhile", max(published.asked, confirmed.asked), "s", where)
    yield Figure("mean delta of a config", sum(sizes) / len(sizes), "bytes", where)
    yield Figure("largest delta of a config", max(sizes), "bytes", where)


async def _measure(workshop: Workshop, place: Path, boards: int) -> tuple[Cost, Cost, list[int]]:
    with serverlab.open_broker(place / "broker") as broker:
        lab = serverlab.Lab(place, boards, broker.port)
        base = lab.release("v1", b"image")
        lab.config_files({"app.conf.j2": _TEMPLATE}, message="First config")
        played = serverlab.Boards(lab, base)
        async with played.connected():
            with _server(lab) as server:
                meter = _Meter(Client(lab.config().socket), server, broker.pid)
                workshop.say(f"giving {boards} boards their first config")
                await played.report_all()
                await meter.until(lambda status: _confirmed(status, boards))
                played.silent = set(lab.devices)
                played.config_messages.clear()
                before = meter.status()["publisher"]["desired_published"]
                workshop.say("changing a line")
                lab.config_files({"app.conf.j2": _TEMPLATE.replace(_BEFORE, _AFTER)}, message="Change a line")
                published = await meter.until(lambda status: _published(status) >= before + boards)
                sizes = [len(played.store[topic]) for topic in played.config_messages]
                if len(sizes) != boards:
                    raise BenchError(f"{len(sizes)} blobs of config crossed the broker for {boards} boards")
                workshop.say("letting the boards answer")
                played.silent.clear()
                answering = asyncio.ensure_future(played.obey_all())
                confirmed = await meter.until(lambda status: _confirmed(status, boards))
                await answering
                return published, confirmed, sizes


def _confirmed(status: dict[str, Any], boards: int) -> bool:
    return status["rollout"]["counts"] == {"confirmed": boards} and status["publisher"]["idle"]


def _published(status: dict[str, Any]) -> int:
    """Desired states that were published, once no more are waiting."""
    return int(status["publisher"]["desired_published"]) if status["publisher"]["idle"] else 0


class _Meter:
    """Asks the server where it stands, and what that and the broker have cost."""

    def __init__(self, client: Client, server: subprocess.Popen[bytes], broker: int) -> None:
        self._client, self._server, self._broker = client, server, broker

    def status(self) -> dict[str, Any]:
        return self._client.get("/v1/status")

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> Cost:
        """Until a condition of the status holds. That is asked for every three seconds, for it is long; a line of
        history twice a second.
        """
        before, end, worst = (_cpu(self._server.pid), _cpu(self._broker)), time.monotonic() + PATIENCE, 0.0
        status: dict[str, Any] = {}
        while time.monotonic() < end:
            for _ in range(6):
                await asyncio.sleep(0.5)
                worst = max(worst, await self._ask())
            try:
                status = await asyncio.to_thread(self.status)
            except NotReachableError:
                continue  # it is starting
            if condition(status):
                return Cost(_cpu(self._server.pid) - before[0], _cpu(self._broker) - before[1], worst)
        raise BenchError(f"not done in {PATIENCE:.0f} s: {status.get('rollout')}, {status.get('publisher')}")

    async def _ask(self) -> float:
        """Seconds until the server answers; 0 where it is starting."""
        asked = time.monotonic()
        try:
            await asyncio.to_thread(self._client.get, "/v1/history?n=1")
        except NotReachableError:
            if (code := self._server.poll()) is not None:
                raise BenchError(f"the server ended with status {code}") from None
            return 0.0
        return time.monotonic() - asked


def _cpu(process: int) -> float:
    """CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _server(lab: serverlab.Lab) -> Iterator[subprocess.Popen[bytes]]:
    with (lab.place / "serve.log").open("ab") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "edgesync.cli.main", "serve", "--config", str(lab.file)], stdout=out, stderr=out
        )
    try:
        yield server
    finally:
        server.terminate()
        server.wait(30)
