"""A real board whose memory is really short: a cgroup is filled, and the update waits until it is not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import Rig, behind, changed, firmware, link

from edgesync.agent.gate import Deed
from edgesync.cli.passenger import MemoryObstacle, Passenger
from edgesync.host.telemetry import TelemetryPort
from edgesync.wire.errors import LinkError, MemoryShortError
from edgesync.wire.messages import Phase
from tests.groups import limited_group

LIMIT = 64 << 20
"""Bytes of the group: a Python takes some 5 MiB of it, and the rest can be filled."""
OLD = firmware(1 << 20, 1)
NEW = changed(OLD, 2, 400)
FILL = """\
import os, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as group:
    group.write(str(os.getpid()))
filled = bytearray(int(sys.argv[2]))
for at in range(0, len(filled), 4096):
    filled[at] = 1
print("filled", flush=True)
sys.stdin.read()
"""


class Application:
    """A process that fills the group until it is told to end."""

    def __init__(self, group: Path, size: int) -> None:
        command = [sys.executable, "-c", FILL, str(group), str(size)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "filled\n"

    def end(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture
def group(require: Callable[[str], None]) -> Iterator[Path]:
    with limited_group(LIMIT, require) as place:
        yield place


def telemetry(rig: Rig, group: Path) -> None:
    (rig.board / "collector.yaml").write_text(
        "extensions:\n"
        f"  memory_health: {{cgroup: {group}, check_interval: 500ms, endpoint: 'unix://{rig.board}/health.sock'}}\n"
        "service: {extensions: [memory_health]}\n"
    )
    with (rig.board / "agent.toml").open("a") as config:
        config.write('[collector]\nconfig = "collector.yaml"\n')


@pytest.mark.broker
def test_a_fetch_starts_only_when_the_pressure_has_gone(tmp_path: Path, group: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            telemetry(rig, group)
            await rig.begin(OLD)
            application = Application(group, LIMIT * 85 // 100)
            await rig.logged("StatusRecoverableError")
            await rig.offer(NEW, rig.delta(OLD, NEW))
            told = await rig.reported(lambda r: r.error is not None and r.error.name == "MemoryShort")
            assert told.error
            assert told.phase is Phase.WAITING
            assert f"% of {group} is used" in told.error.detail
            await asyncio.sleep(2)  # looks of the gate and of the extension go by
            assert "fetch blob=" not in rig.log()
            application.end()
            last = await rig.confirmed(NEW)
            assert (last.slot, last.error) == ("b", None)
            log = rig.log()
            assert log.index("is StatusRecoverableError") < log.index("fetch blob=")

    asyncio.run(scenario())


@pytest.mark.broker
def test_telemetry_that_cannot_be_configured_costs_the_board_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            with (rig.board / "agent.toml").open("a") as config:
                config.write('[collector]\nconfig = "collector.yaml"\n')
            (rig.board / "collector.yaml").write_text("extensions: {memory_helth: }")
            await rig.begin(OLD)
            assert "no telemetry: " in rig.log()
            assert 'unknown type: "memory_helth"' in rig.log()

    asyncio.run(scenario())


# --- the obstacle -------------------------------------------------------------------------------------------------


class Memory:
    def __init__(self) -> None:
        self.short = False

    def shortage(self) -> MemoryShortError | None:
        return MemoryShortError("95 % of the machine is used") if self.short else None


DEEDS = [Deed("fetch", "firmware"), Deed("fetch", "config"), Deed("switch", "config"), Deed("switch", "firmware")]


def test_short_memory_holds_up_all_but_the_reboot_which_frees_it() -> None:
    memory = Memory()
    obstacle = MemoryObstacle([memory])
    assert [asyncio.run(obstacle.refusal(deed)) for deed in DEEDS] == [None] * 4
    memory.short = True
    errors = [asyncio.run(obstacle.refusal(deed)) for deed in DEEDS]
    assert [error.name if error else "" for error in errors] == ["MemoryShort"] * 3 + [""]


def test_it_is_seen_to_be_gone_only_where_it_was_in_the_way() -> None:
    memory = Memory()
    obstacle = MemoryObstacle([memory])
    assert not obstacle.gone()
    memory.short = True
    asyncio.run(obstacle.refusal(DEEDS[0]))
    assert not obstacle.gone()
    memory.short = False
    assert obstacle.gone()
    asyncio.run(obstacle.refusal(DEEDS[0]))
    assert not obstacle.gone()


class NoWay:
    """A way out that nobody takes."""

    async def send(self, payload: bytes) -> None:
        raise LinkError("not connected")


def test_a_passenger_without_a_service_is_in_nobodys_way() -> None:
    async def life() -> None:
        passenger = Passenger()
        passenger.board("acme.b1", TelemetryPort(), NoWay())
        assert passenger.obstacles == []
        await passenger.leave()

    asyncio.run(life())
