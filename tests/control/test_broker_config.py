"""The configuration and the access list, judged by a real mosquitto and by clients that try what they may not do."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgesync.control.broker import PACKET_LIMIT, BrokerFiles, acl, mosquitto_conf, openssl_conf
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.trust import pki
from edgesync.wire.errors import ConfigError

LIMIT = 10.0
TOP = "es1/acme"
BLOCK = f"{TOP}/b/{'ab' * 16}/0/0"


def until(condition: Callable[[], bool], limit: float = LIMIT) -> bool:
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Client:
    """One MQTT connection with the certificate `<directory>/<name>.crt`, and everything that came over it."""

    def __init__(
        self, broker: Lab, name: str, *, client_id: str = "", will: tuple[str, bytes] | None = None, stall: float = 0
    ) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.ups = self.downs = self.subscribed = 0
        self._stall = stall
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, client_id or name)
        self._mqtt.tls_set(str(broker.path / "ca.crt"), *broker.pair(name))
        self._mqtt.on_connect = self._up
        self._mqtt.on_disconnect = self._down
        self._mqtt.on_subscribe = self._granted
        self._mqtt.on_message = self._message
        self._mqtt.reconnect_delay_set(60, 60)  # a second connection would hide why the first one went
        if will:
            self._mqtt.will_set(*will, 1, True)
        self._mqtt.connect_async("127.0.0.1", broker.port)
        self._mqtt.loop_start()

    def _up(self, *_: object) -> None:
        self.ups += 1

    def _down(self, *_: object) -> None:
        self.downs += 1

    def _granted(self, *_: object) -> None:
        self.subscribed += 1

    def _message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        time.sleep(self._stall)
        self._stall = 0
        self.got.append((message.topic, message.payload))

    def topics(self) -> list[str]:
        return [topic for topic, _ in self.got]

    def subscribe(self, *filters: str) -> Client:
        assert until(lambda: self.ups > 0), "never connected"
        before = self.subscribed
        for name in filters:
            self._mqtt.subscribe(name, 1)
        assert until(lambda: self.subscribed == before + len(filters))
        return self

    def publish(self, topic: str, payload: bytes) -> None:
        assert until(lambda: self.ups > 0), "never connected"
        self._mqtt.publish(topic, payload, 1, True).wait_for_publish(LIMIT)

    def send(self, topic: str, payload: bytes) -> None:
        """Publish without waiting for an answer."""
        assert until(lambda: self.ups > 0), "never connected"
        self._mqtt.publish(topic, payload, 1, True)

    def vanish(self) -> None:
        """End the connection without a DISCONNECT."""
        sock = self._mqtt.socket()
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


class Lab:
    """A mosquitto with a fleet's certificates, and its clients, which end with it."""

    def __init__(self, path: Path, persistence: str = "") -> None:
        self.path = path
        self.port = free_port()
        pki.create_ca(str(path), "acme")
        self.issue("acme.broker", hosts=("127.0.0.1", "localhost"))
        for name in ("acme.server", "acme.b1", "acme.b2"):
            self.issue(name)
        (path / "acl").write_text(acl("acme"))
        (path / "openssl.cnf").write_text(openssl_conf())
        files = BrokerFiles(str(path / "ca.crt"), *self.pair("acme.broker"), str(path / "acl"))
        text = mosquitto_conf(
            files,
            self.port,
            address="127.0.0.1",
            persistence=persistence,
            run_as="root" if os.geteuid() == 0 else "",
        )
        (path / "mosquitto.conf").write_text(text)
        self.broker = MosquittoBroker(path, port=self.port, config=path / "mosquitto.conf", popen=self._popen)
        self._clients: list[Client] = []

    def _popen(self, args: list[str], **options: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(args, env={**os.environ, "OPENSSL_CONF": str(self.path / "openssl.cnf")}, **options)

    def issue(self, name: str, hosts: tuple[str, ...] = ()) -> None:
        pki.issue(str(self.path), *self.pair(name), name, hosts=hosts)

    def pair(self, name: str) -> tuple[str, str]:
        return str(self.path / f"{name}.crt"), str(self.path / f"{name}.key")

    def client(self, name: str, **options: object) -> Client:
        client = Client(self, name, **options)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()


@pytest.fixture(scope="module")
def module_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("broker"))
    with lab.broker:
        yield lab


@pytest.fixture
def lab(module_lab: Lab) -> Iterator[Lab]:
    yield module_lab
    module_lab.close()


@pytest.mark.broker
def test_a_board_reads_its_desired_and_all_firmware_and_writes_its_reports(lab: Lab) -> None:
    server = lab.client("acme.server").subscribe(f"{TOP}/d/+/reported", f"{TOP}/d/+/up")
    board = lab.client("acme.b1").subscribe(f"{TOP}/d/acme.b1/desired", f"{TOP}/b/+/0/+")
    server.publish(f"{TOP}/d/acme.b1/desired", b"for b1")
    server.publish(BLOCK, b"block")
    board.publish(f"{TOP}/d/acme.b1/reported", b"of b1")
    board.publish(f"{TOP}/d/acme.b1/up", b"1")
    assert until(lambda: len(board.got) == 2)
    assert set(board.got) == {(f"{TOP}/d/acme.b1/desired", b"for b1"), (BLOCK, b"block")}
    assert until(lambda: len(server.got) == 2)
    assert set(server.got) == {(f"{TOP}/d/acme.b1/reported", b"of b1"), (f"{TOP}/d/acme.b1/up", b"1")}


@pytest.mark.broker
def test_a_board_that_asks_for_everything_reads_nothing_of_another(lab: Lab) -> None:
    server = lab.client("acme.server")
    server.publish(f"{TOP}/d/acme.b2/desired", b"retained")
    other = lab.client("acme.b2")
    other.publish(f"{TOP}/d/acme.b2/reported", b"retained")
    nosy = lab.client("acme.b1").subscribe("#", f"{TOP}/d/+/desired", f"{TOP}/d/acme.b2/desired", "$SYS/#")
    server.publish(f"{TOP}/d/acme.b2/desired", b"live")
    other.publish(f"{TOP}/d/acme.b2/reported", b"live")
    server.publish(f"{TOP}/d/acme.b1/desired", b"the last")
    assert until(lambda: (f"{TOP}/d/acme.b1/desired", b"the last") in nosy.got)
    assert not [topic for topic in nosy.topics() if "acme.b2" in topic or topic.startswith("$SYS")]


@pytest.mark.broker
@pytest.mark.parametrize(
    "topic",
    [
        BLOCK,
        f"{TOP}/b/{'ab' * 16}/index",
        f"{TOP}/d/acme.b1/desired",
        f"{TOP}/d/acme.b2/desired",
        f"{TOP}/d/acme.b2/reported",
        f"{TOP}/d/acme.b2/up",
        f"{TOP}/d/acme.b1/reported/more",
        "es1/other/d/acme.b1/reported",
        "elsewhere",
    ],
)
def test_a_board_cannot_publish(lab: Lab, topic: str) -> None:
    server = lab.client("acme.server").subscribe("#")
    board = lab.client("acme.b1")
    board.publish(topic, b"forged")
    board.publish(f"{TOP}/d/acme.b1/reported", b"the last")
    assert until(lambda: (f"{TOP}/d/acme.b1/reported", b"the last") in server.got)
    assert b"forged" not in [payload for _, payload in server.got]


@pytest.mark.broker
def test_a_board_that_dies_is_told_of_by_its_will(lab: Lab) -> None:
    server = lab.client("acme.server").subscribe(f"{TOP}/d/acme.b2/up")
    board = lab.client("acme.b2", will=(f"{TOP}/d/acme.b2/up", b"0"))
    board.publish(f"{TOP}/d/acme.b2/up", b"1")
    assert until(lambda: server.got[-1:] == [(f"{TOP}/d/acme.b2/up", b"1")])
    board.vanish()
    assert until(lambda: server.got[-1:] == [(f"{TOP}/d/acme.b2/up", b"0")])


@pytest.mark.broker
def test_the_will_of_a_board_cannot_speak_for_another(lab: Lab) -> None:
    server = lab.client("acme.server").subscribe(f"{TOP}/d/+/up")
    server.publish(f"{TOP}/d/acme.b2/up", b"1")
    liar = lab.client("acme.b1", will=(f"{TOP}/d/acme.b2/up", b"forged"))
    assert until(lambda: liar.ups == 1)
    liar.vanish()
    lab.client("acme.b2").publish(f"{TOP}/d/acme.b2/up", b"2")
    assert until(lambda: (f"{TOP}/d/acme.b2/up", b"2") in server.got)
    assert b"forged" not in [payload for _, payload in server.got]


@pytest.mark.broker
def test_nobody_throws_another_off_by_taking_its_client_id(lab: Lab) -> None:
    server = lab.client("acme.server")
    victim = lab.client("acme.b2").subscribe(f"{TOP}/d/acme.b2/desired")
    thief = lab.client("acme.b1", client_id="acme.b2").subscribe(f"{TOP}/d/+/desired")
    server.publish(f"{TOP}/d/acme.b2/desired", b"still there")
    assert until(lambda: (f"{TOP}/d/acme.b2/desired", b"still there") in victim.got)
    server.publish(f"{TOP}/d/acme.b1/desired", b"as b1")
    assert until(lambda: (f"{TOP}/d/acme.b1/desired", b"as b1") in thief.got)
    assert victim.downs == 0
    assert not [topic for topic in thief.topics() if "acme.b2" in topic]


def handshake(lab: Lab, cert: tuple[str, str] | None, ca: str = "") -> tuple[bytes, int]:
    """A full TLS handshake and a CONNECT without a client library: the broker's answer, and the bytes it sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca or str(lab.path / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if cert:
        context.load_cert_chain(*cert)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    received = 0
    with socket.create_connection(("127.0.0.1", lab.port), LIMIT) as sock:
        for step in (tls.do_handshake, lambda: tls.write(b"\x10\x10\0\4MQTT\4\2\0\x3c\0\4name"), lambda: tls.read(4)):
            while True:
                try:
                    answer = step()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    data = sock.recv(1 << 16)
                    received += len(data)
                    incoming.write(data) if data else incoming.write_eof()
                else:
                    sock.sendall(outgoing.read())
                    break
    return answer, received


CONNACK = b"\x20\2\0\0"


@pytest.mark.broker
def test_only_a_certificate_of_the_fleet_for_a_client_gets_in(lab: Lab, tmp_path: Path) -> None:
    assert handshake(lab, lab.pair("acme.b1"))[0] == CONNACK
    pki.create_ca(str(tmp_path), "acme")  # the same names, another authority
    foreign = str(tmp_path / "b1.crt"), str(tmp_path / "b1.key")
    pki.issue(str(tmp_path), *foreign, "acme.b1")
    for outsider in (None, foreign, lab.pair("acme.broker")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(lab, outsider)


@pytest.mark.broker
def test_a_board_notices_a_broker_of_another_authority(lab: Lab, tmp_path: Path) -> None:
    pki.create_ca(str(tmp_path), "acme")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(lab, lab.pair("acme.b1"), str(tmp_path / "ca.crt"))


@pytest.mark.broker
def test_a_full_handshake_costs_a_board_less_than_1700_bytes_from_the_broker(lab: Lab) -> None:
    received = handshake(lab, lab.pair("acme.b1"))[1]
    assert 1000 < received < 1700  # 2,178 with two session tickets, 2,300 with P-256 and two


@pytest.mark.broker
def test_the_largest_block_passes_and_a_larger_packet_ends_the_connection(lab: Lab) -> None:
    reader = lab.client("acme.b1").subscribe(f"{TOP}/b/#")
    server = lab.client("acme.server")
    server.publish(BLOCK, bytes(16 * 1024))
    assert until(lambda: (BLOCK, bytes(16 * 1024)) in reader.got)
    board = lab.client("acme.b2")
    board.send(f"{TOP}/d/acme.b2/reported", bytes(PACKET_LIMIT + 1))
    assert until(lambda: board.downs > 0)


@pytest.mark.broker
def test_a_server_that_reads_slowly_gets_a_report_of_each_of_3000_boards(lab: Lab) -> None:
    writer = lab.client("acme.server")
    last = None
    for number in range(3000):
        assert until(lambda: writer.ups > 0)
        last = writer._mqtt.publish(f"{TOP}/d/acme.n{number}/reported", bytes(1024), 1, True)
    assert last is not None
    last.wait_for_publish(LIMIT)
    writer.close()
    reader = lab.client("acme.server", stall=1.0)
    assert until(lambda: reader.ups > 0)
    reader.subscribe(f"{TOP}/d/+/reported")
    assert until(lambda: len({topic for topic in reader.topics() if ".n" in topic}) == 3000, 20)


@pytest.mark.broker
def test_what_was_published_outlives_a_restart_of_the_broker(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    lab = Lab(tmp_path, persistence=str(tmp_path / "store"))
    with lab.broker:
        lab.client("acme.server").publish(BLOCK, b"kept")
        lab.close()
        lab.broker.restart()
        board = lab.client("acme.b1").subscribe(BLOCK)
        assert until(lambda: board.got == [(BLOCK, b"kept")])
        lab.close()


def test_every_setting_of_the_file_stands_below_a_reason() -> None:
    text = mosquitto_conf(BrokerFiles("ca", "cert", "key", "acl"), 8883, persistence="/var/lib/x", run_as="nobody")
    for block in text.split("\n\n")[1:]:
        assert block.lstrip("\n").startswith(("#", "listener", "log_dest")), block


@pytest.mark.parametrize("fleet", ["", "a b", "acme\ntopic readwrite #", "%u", "+", "acme/x", "acme.x"])
def test_a_fleet_whose_name_could_change_the_access_list_is_refused(fleet: str) -> None:
    with pytest.raises(ConfigError):
        acl(fleet)
