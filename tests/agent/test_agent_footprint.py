"""What the resident agent weighs: RSS under mutual TLS while it fetches, and the packages it loads."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rig import DEVICE, FLEET, Rig, carried, firmware, link

from edgesync.control.broker import BrokerFiles, acl, mosquitto_conf, openssl_conf
from edgesync.host.mqtt import LinkOptions, MqttLink, Tls
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.sim.proxy import TcpProxy
from edgesync.trust import pki
from edgesync.wire.ids import SERVER, device_id

pytestmark = pytest.mark.broker

RSS_LIMIT = 30 << 20
"""Bytes that a board may spend on the resident agent."""
WITH_TELEMETRY_LIMIT = 36 << 20
"""The same with the collector and memory_health in the process."""
OLD, NEW = firmware(1 << 20, 1), firmware(1 << 20, 2)
PACKAGES = {"paho"} | ({"tomli"} if sys.version_info < (3, 11) else set())


COLLECTOR = """\
extensions:
  memory_health: {{endpoint: "unix://{place}/health.sock", check_interval: 100ms}}
service: {{extensions: [memory_health]}}
"""


def issue(directory: Path, name: str, hosts: tuple[str, ...] = ()) -> Tls:
    tls = Tls(str(directory / "ca.crt"), str(directory / f"{name}.crt"), str(directory / f"{name}.key"))
    pki.issue(str(directory), tls.cert, tls.key, name, hosts=hosts)
    return tls


def broker(directory: Path) -> MosquittoBroker:
    """A mosquitto as production runs it: a certificate for each client, and who may do what."""
    directory.mkdir()
    pki.create_ca(str(directory), FLEET)
    own, port = issue(directory, f"{FLEET}.broker", ("127.0.0.1",)), free_port()
    (directory / "acl").write_text(acl(FLEET))
    (directory / "openssl.cnf").write_text(openssl_conf())
    files = BrokerFiles(own.ca, own.cert, own.key, str(directory / "acl"))
    run_as = "root" if os.geteuid() == 0 else ""
    config = directory / "mosquitto.conf"
    config.write_text(mosquitto_conf(files, port, address="127.0.0.1", run_as=run_as))

    def popen(args: Any, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(args, env={**os.environ, "OPENSSL_CONF": str(directory / "openssl.cnf")}, **options)

    return MosquittoBroker(directory, port=port, config=config, popen=popen)


@asynccontextmanager
async def board(root: Path, rate: float) -> AsyncIterator[tuple[Rig, TcpProxy]]:
    """A board that reaches its broker over mutual TLS and a link of `rate` bit/s."""
    place = root / "broker"
    with broker(place) as running:
        async with TcpProxy(link(rate), ("127.0.0.1", running.port)) as proxy:
            rig = Rig(root, running, proxy.port)
            tls = issue(place, DEVICE)
            config = rig.board / "agent.toml"
            lines = f'[broker]\nca = "{tls.ca}"\ncert = "{tls.cert}"\nkey = "{tls.key}"\n'
            config.write_text(config.read_text().replace("[broker]\n", lines))
            server = device_id(FLEET, SERVER)
            rig.link = MqttLink(LinkOptions("127.0.0.1", running.port, server, issue(place, server), inbox=1024))
            async with rig:
                yield rig, proxy


def resident(pid: int, field: str) -> int:
    """Bytes of a line of /proc/<pid>/status: VmRSS is what it takes now, VmHWM the most that it ever took."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


@pytest.mark.parametrize("telemetry", [False, True], ids=["alone", "with telemetry"])
def test_the_resident_agent_stays_below_its_limit_under_tls_from_the_fetch_to_the_reboot(
    tmp_path: Path, telemetry: bool
) -> None:
    limit = WITH_TELEMETRY_LIMIT if telemetry else RSS_LIMIT

    async def scenario() -> None:
        async with board(tmp_path, rate=4e6) as (rig, proxy):
            if telemetry:
                (rig.board / "collector.yaml").write_text(COLLECTOR.format(place=rig.board))
                with (rig.board / "agent.toml").open("a") as config:
                    config.write('[collector]\nconfig = "collector.yaml"\n')
            await rig.begin(OLD)
            before = proxy.counters().down
            source = rig.full(NEW)
            await rig.offer(NEW, source)
            await carried(proxy, before + source.length // 2)
            agent = rig.agent_pid()
            fetching = resident(agent, "VmRSS")
            await rig.apply_worker()
            most = resident(agent, "VmHWM")
            await rig.confirmed(NEW)
            assert fetching <= most < limit, f"{fetching / 2**20:.1f} MiB, at most {most / 2**20:.1f}"
            assert resident(rig.agent_pid(), "VmHWM") < limit, "the life after the reboot as well"
            assert telemetry is ("everything is ready" in rig.log())
            print(f"{fetching / 2**20:.1f} MiB while it fetches, at most {most / 2**20:.1f}")

    asyncio.run(scenario())


AGENT = """\
import atexit, json, sys
from edgesync.cli.main import main

def tell():
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps(sorted(sys.modules)) + "\\n")

atexit.register(tell)
sys.exit(main(["agent", "--config", sys.argv[2]]))
"""
BOARD = """\
import sys
from pathlib import Path
from edgesync.boards.supervisor import Habits, Supervisor

script, told, slots, config = sys.argv[1:]
command = [sys.executable, script, told, config]
sys.exit(Supervisor(Path(slots), command, lambda event, **fields: None, Habits()).run())
"""


def bare_modules() -> list[str]:
    """What an interpreter of this environment has loaded before it does anything: finders of installed packages."""
    command = [sys.executable, "-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"]
    found: list[str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def test_all_that_the_resident_agent_ever_loads_is_the_standard_library_and_paho(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "board.py").write_text(BOARD)
    told = tmp_path / "modules"

    async def scenario() -> None:
        async with board(tmp_path, rate=0.0) as (rig, _):
            rig.install(OLD)
            slots, config = str(rig.board / "slots"), str(rig.board / "agent.toml")
            command = [sys.executable, str(tmp_path / "board.py"), str(tmp_path / "agent.py"), str(told), slots, config]
            with (tmp_path / "board.log").open("ab") as log:
                rig.process = await asyncio.to_thread(
                    subprocess.Popen, command, stdout=log, stderr=log, start_new_session=True
                )
            await rig.confirmed(OLD)
            await rig.offer(NEW, rig.full(NEW))
            await rig.confirmed(NEW)

    asyncio.run(scenario())
    lives = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(lives) == 2, "before the reboot and after it"
    standard = sys.stdlib_module_names | set(bare_modules())
    for modules in lives:
        loaded = {name.partition(".")[0] for name in modules}
        assert "edgesync.agent.runner" in modules
        assert loaded - standard - {"edgesync"} == PACKAGES
