"""The kernel's account of a connection beside the count of an emulated link that carried it. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edgesync.control.broker import BrokerFiles, acl, mosquitto_conf, openssl_conf
from edgesync.sim import plugin, profiles
from edgesync.sim.broker import MosquittoBroker
from edgesync.sim.net import HUB_ADDRESS, Net
from edgesync.sim.profiles import LinkProfile
from edgesync.sim.shape import Counters
from edgesync.trust import pki

pytestmark = [pytest.mark.root, pytest.mark.broker]

PORT = 8883
LINK = profiles.load("lte-256k")

# Connects twice as a board does, takes what is retained, publishes a little, and leaves; or, with CONNECTIONS 0, trusts
# nobody and so fails at the handshake. Says what its link has carried.
BOARD = """
import asyncio, json, sys
from edgesync.host.mqtt import Down, LinkOptions, Message, MqttLink, Tls, Up
directory, host, connections = sys.argv[1], sys.argv[2], int(sys.argv[3])
path = lambda name: f"{directory}/{name}"
async def main():
    ca = path("ca.crt" if connections else "other/ca.crt")
    tls = Tls(ca, path("acme.b1.crt"), path("acme.b1.key"))
    total = 0
    for _ in range(connections or 1):
        link = MqttLink(LinkOptions(host, 8883, "acme.b1", tls=tls, backoff=60.0))
        link.start()
        if isinstance(await link.next(), Up):
            link.subscribe("es1/acme/b/#")
            left = 3
            while left:
                match await link.next():
                    case Message():
                        left -= 1
            for number in range(3):
                await link.deliver("es1/acme/d/acme.b1/reported", bytes(700))
        await link.stop()
        total += link.carried.total
    print(json.dumps(total))
asyncio.run(asyncio.wait_for(main(), 120))
"""


@pytest.fixture(autouse=True)
def root() -> None:
    plugin.require(Net.unavailable())


@pytest.fixture
def hub(tmp_path: Path, link_net: Net) -> Iterator[Net]:
    """A network whose hub has mosquitto as the server configures it, with three retained blocks."""
    pki.create_ca(str(tmp_path), "acme")
    (tmp_path / "other").mkdir()
    pki.create_ca(str(tmp_path / "other"), "acme")
    for name, hosts in (("acme.broker", (HUB_ADDRESS,)), ("acme.b1", ()), ("acme.server", ())):
        pki.issue(str(tmp_path), str(tmp_path / f"{name}.crt"), str(tmp_path / f"{name}.key"), name, hosts=hosts)
    (tmp_path / "acl").write_text(acl("acme"))
    (tmp_path / "openssl.cnf").write_text(openssl_conf())
    parts = (str(tmp_path / name) for name in ("ca.crt", "acme.broker.crt", "acme.broker.key", "acl"))
    conf = mosquitto_conf(BrokerFiles(*parts), PORT, address=HUB_ADDRESS, run_as="root")
    (tmp_path / "mosquitto.conf").write_text(conf)
    popen = partial(link_net.popen, None, env={**os.environ, "OPENSSL_CONF": str(tmp_path / "openssl.cnf")})
    with MosquittoBroker(tmp_path, host=HUB_ADDRESS, port=PORT, config=tmp_path / "mosquitto.conf", popen=popen):
        retain = (
            "import asyncio, sys; from edgesync.host.mqtt import *\n"
            "async def main():\n"
            f"    tls = Tls('{tmp_path}/ca.crt', '{tmp_path}/acme.server.crt', '{tmp_path}/acme.server.key')\n"
            f"    link = MqttLink(LinkOptions('{HUB_ADDRESS}', {PORT}, 'acme.server', tls=tls)); link.start()\n"
            "    assert isinstance(await link.next(), Up)\n"
            "    for n in range(3): await link.deliver(f'es1/acme/b/x/0/{n}', bytes(8192))\n"
            "    await link.stop()\n"
            "asyncio.run(main())"
        )
        assert link_net.popen(None, [sys.executable, "-c", retain]).wait(30) == 0
        yield link_net


def told_and_carried(net: Net, directory: Path, link: LinkProfile, connections: int) -> tuple[int, int]:
    """What the board says, and what the link's count is once it is idle."""
    end = net.add("b1", link)
    command = [sys.executable, "-c", BOARD, str(directory), end.hub_address, str(connections)]
    board = net.popen(end.namespace, command, stdout=subprocess.PIPE, text=True)
    told = json.loads(board.communicate(timeout=150)[0])
    time.sleep(2)
    counters = net.counters("b1")
    return told, sent(counters.up) + sent(counters.down)


def sent(way: Counters) -> int:
    return way.offered.bytes - way.overflow.bytes - way.outage.bytes - way.cut.bytes


def test_a_board_counts_what_its_link_carries_within_two_percent(hub: Net, tmp_path: Path) -> None:
    told, carried = told_and_carried(hub, tmp_path, LINK.without_loss(), connections=2)
    assert carried > 2 * (3 * 8192 + 3 * 700)
    assert told == pytest.approx(carried, rel=0.02)


def test_what_is_lost_on_the_air_towards_the_board_is_all_that_it_cannot_count(hub: Net, tmp_path: Path) -> None:
    told, carried = told_and_carried(hub, tmp_path, LINK.with_loss(0.05), connections=2)
    lost = hub.counters("b1").down.lost.bytes
    assert lost > 0
    assert told + lost == pytest.approx(carried, rel=0.04)


def test_a_handshake_that_fails_is_counted_as_well(hub: Net, tmp_path: Path) -> None:
    told, carried = told_and_carried(hub, tmp_path, LINK.without_loss(), connections=0)
    assert carried > 1000
    assert told == pytest.approx(carried, rel=0.1)
