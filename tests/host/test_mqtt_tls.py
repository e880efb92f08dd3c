"""The MQTT link under mutual TLS, against mosquitto as the server configures it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mqtt_parts import (
    KILO,
    event,
    linked,
    options,
    play,
    proxy_to,
    until,
)

from edgesync.control.broker import BrokerFiles, acl, mosquitto_conf, openssl_conf
from edgesync.host.mqtt import Down, Message, MqttLink, Tls, Up, Will
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.trust import pki
from edgesync.wire.errors import NotReachableError


class Lab:
    """A mosquitto as the server configures it, and the certificates of a fleet."""

    def __init__(self, path: Path) -> None:
        self._path, port = path, free_port()
        pki.create_ca(str(path), "acme")
        self.tls = {name: self._issue(name) for name in ("acme.server", "acme.b1")}
        own = self._issue("acme.broker", hosts=("127.0.0.1",))
        (path / "acl").write_text(acl("acme"))
        (path / "openssl.cnf").write_text(openssl_conf())
        files = BrokerFiles(own.ca, own.cert, own.key, str(path / "acl"))
        run_as = "root" if os.geteuid() == 0 else ""
        (path / "mosquitto.conf").write_text(mosquitto_conf(files, port, address="127.0.0.1", run_as=run_as))
        self.broker = MosquittoBroker(path, port=port, config=path / "mosquitto.conf", popen=self._popen)

    def _issue(self, name: str, hosts: tuple[str, ...] = ()) -> Tls:
        tls = Tls(str(self._path / "ca.crt"), str(self._path / f"{name}.crt"), str(self._path / f"{name}.key"))
        pki.issue(str(self._path), tls.cert, tls.key, name, hosts=hosts)
        return tls

    def _popen(self, args: Any, **settings: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(args, env={**os.environ, "OPENSSL_CONF": str(self._path / "openssl.cnf")}, **settings)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("tls"))
    with made.broker:
        yield made


@pytest.mark.broker
def test_a_reconnect_resumes_the_tls_session_and_saves_most_of_the_handshake(lab: Lab) -> None:
    async def scenario() -> None:
        async with (
            proxy_to(lab.broker.port) as proxy,
            linked(options(proxy.port, "acme.b1", tls=lab.tls["acme.b1"])) as link,
        ):
            costs = []
            for _ in range(4):
                before = proxy.counters()
                await event(link, Up)
                await asyncio.sleep(0.05)
                now = proxy.counters()
                costs.append(now.down + now.up - before.down - before.up)
                proxy.reset_all()
                await event(link, Down)
            assert costs[0] > 2500
            assert max(costs[1:]) < costs[0] - 1000, costs

    play(scenario)


@pytest.mark.broker
def test_a_broker_that_has_forgotten_the_tls_session_is_met_with_a_full_handshake(lab: Lab) -> None:
    async def scenario() -> None:
        async with linked(options(lab.broker.port, "acme.b1", tls=lab.tls["acme.b1"])) as link:
            await event(link, Up)
            await asyncio.to_thread(lab.broker.restart)
            await event(link, Up)
            await link.deliver("es1/acme/d/acme.b1/up", b"1")

    play(scenario)


@pytest.mark.broker
def test_a_large_message_is_carried_over_tls_while_others_come(lab: Lab) -> None:
    async def scenario() -> None:
        async with (
            linked(options(lab.broker.port, "acme.server", tls=lab.tls["acme.server"])) as server,
            linked(options(lab.broker.port, "acme.b1", tls=lab.tls["acme.b1"])) as board,
        ):
            await event(server, Up)
            await event(board, Up)
            board.subscribe("es1/acme/b/#")
            server.subscribe("es1/acme/d/+/reported", qos=1)
            await until(lambda: board.answered and server.answered)
            blocks = {f"es1/acme/b/{'ab' * 16}/{n}/0": random.Random(n).randbytes(16 * KILO) for n in range(40)}
            await asyncio.gather(
                *(server.deliver(topic, data) for topic, data in blocks.items()),
                *(board.deliver("es1/acme/d/acme.b1/reported", bytes(KILO)) for _ in range(40)),
            )
            got: dict[str, bytes] = {}
            while len(got) < len(blocks):
                message = await event(board, Message)
                got[message.topic] = message.payload
            assert got == blocks

    play(scenario)


@pytest.mark.broker
# paho drops a socket whose handshake failed without closing it; the interpreter closes it at once, and warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_of_another_authority_is_not_talked_to(lab: Lab, tmp_path: Path) -> None:
    async def scenario() -> None:
        pki.create_ca(str(tmp_path), "acme")
        own = lab.tls["acme.b1"]
        stranger = Tls(str(tmp_path / "ca.crt"), own.cert, own.key)
        async with linked(options(lab.broker.port, "acme.b1", tls=stranger)) as link:
            assert "certificate verify failed" in (await event(link, Down)).reason

    play(scenario)


def test_tls_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    tls = Tls(str(tmp_path / "ca.crt"), str(tmp_path / "b.crt"), str(tmp_path / "b.key"))
    with pytest.raises(NotReachableError, match=r"b\.key"):
        MqttLink(options(1, tls=tls, will=Will("t", b"0")))
    (tmp_path / "ca.crt").write_text("not PEM")
    with pytest.raises(NotReachableError, match=r"ca\.crt"):
        MqttLink(options(1, tls=tls))
