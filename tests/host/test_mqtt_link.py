"""The MQTT link against a real mosquitto, and against peers that lie, flood and break off."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, final

import pytest
from paho.mqtt import client as paho

from edgesync.control.broker import BrokerFiles, acl, mosquitto_conf, openssl_conf
from edgesync.host import mqtt
from edgesync.host.mqtt import Down, LinkOptions, Message, MqttLink, Tls, Up, Will
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.sim.profiles import Direction, LinkProfile
from edgesync.sim.proxy import TcpProxy
from edgesync.trust import pki
from edgesync.wire.errors import LinkError, MalformedMessageError, MessageTooLargeError, NotReachableError

LIMIT = 20.0
CONNACK, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
KILO = 1024


def options(port: int, name: str = "tester", **changes: Any) -> LinkOptions:
    return LinkOptions("127.0.0.1", port, name, **{"backoff": 0.01, "backoff_limit": 0.05, **changes})


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), LIMIT)

    asyncio.run(limited())


@asynccontextmanager
async def linked(settings: LinkOptions) -> AsyncIterator[MqttLink]:
    link = MqttLink(settings)
    link.start()
    try:
        yield link
    finally:
        await link.stop()


async def event(link: MqttLink, kind: type) -> Any:
    """The next event of a kind; those before it are thrown away."""
    while not isinstance(found := await link.next(), kind):
        pass
    return found


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def proxy_to(port: int, rate: float = 0.0) -> TcpProxy:
    way = Direction(rate, delay=0.0)
    return TcpProxy(LinkProfile("bench", "a link of the tests", "made up", way, way), ("127.0.0.1", port))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path_factory.mktemp("plain")) as running:
        yield running


@final
class PlayedBroker:
    """Reads a CONNECT and answers with the next of `scripts`, then closes; the last one is for all that follow."""

    def __init__(self, *scripts: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._scripts = list(scripts)
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> PlayedBroker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await reader.read(KILO)
            await script(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the link has ended the connection, or the test is over
        writer.close()


def says(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


def stays(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Says this, and then nothing more while the link stays."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while await reader.read(64 * KILO):
            pass

    return script


# --- what the application may rely on --------------------------------------------------------------------------


@pytest.mark.broker
def test_everything_that_is_delivered_arrives_once_and_in_order(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with linked(options(broker.port, "reader")) as reader, linked(options(broker.port, "writer")) as writer:
            await event(reader, Up)
            reader.subscribe("order/+", qos=1)
            await until(lambda: reader.answered)
            await event(writer, Up)
            await asyncio.gather(*(writer.deliver(f"order/{n}", b"%d" % n, retain=False) for n in range(100)))
            got = [await event(reader, Message) for _ in range(100)]
            assert got == [Message(f"order/{n}", b"%d" % n) for n in range(100)]

    play(scenario)


@pytest.mark.broker
def test_an_application_that_does_not_read_holds_up_the_sender_and_loses_nothing(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        inbox, count = 4, 60
        async with (
            linked(options(broker.port, "lazy", inbox=inbox)) as reader,
            linked(options(broker.port, "writer2")) as writer,
        ):
            await event(writer, Up)
            for n in range(count):
                await writer.deliver(f"flood/{n}", bytes(8 * KILO))
            await event(reader, Up)
            reader.subscribe("flood/+")
            await until(lambda: len(reader._events) == inbox)
            await asyncio.sleep(0.2)
            assert len(reader._events) == inbox
            got = {(await event(reader, Message)).topic for _ in range(count)}
            assert len(got) == count

    play(scenario)


@pytest.mark.broker
def test_only_one_thread_ever_writes_to_a_connection(broker: MosquittoBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would mix the halves of their packets when the socket is full, and a TLS connection bears no two at all."""
    writers: set[str] = set()
    send = paho.Client._sock_send

    def watched(self: paho.Client, data: bytes) -> int:
        writers.add(threading.current_thread().name)
        return send(self, data)

    monkeypatch.setattr(paho.Client, "_sock_send", watched)

    async def scenario() -> None:
        async with linked(options(broker.port, "one")) as link:
            await event(link, Up)
            link.subscribe("mine/+", qos=1)
            await asyncio.gather(*(link.deliver(f"mine/{n}", bytes(KILO)) for n in range(50)))
            link.unsubscribe("mine/+")
            await until(lambda: link.answered)

    play(scenario)
    assert writers == {"mqtt"}


@pytest.mark.broker
def test_what_is_sent_both_ways_at_once_over_a_full_link_stays_whole(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with (
            proxy_to(broker.port, rate=8e6) as proxy,
            linked(options(proxy.port, "busy", keepalive=30)) as busy,
            linked(options(broker.port, "other", inbox=1024)) as other,
        ):
            await event(busy, Up)
            await event(other, Up)
            busy.subscribe("down/+", qos=1)
            other.subscribe("up/+", qos=1)
            await until(lambda: busy.answered and other.answered)
            payloads = {n: random.Random(n).randbytes(8 * KILO) for n in range(100)}

            async def take(link: MqttLink) -> dict[str, bytes]:
                got: dict[str, bytes] = {}
                while len(got) < len(payloads):
                    message = await link.next()
                    assert isinstance(message, Message), message
                    got[message.topic] = message.payload
                return got

            up, down, *_ = await asyncio.gather(
                take(other),
                take(busy),
                *(busy.deliver(f"up/{n}", data, retain=False) for n, data in payloads.items()),
                *(other.deliver(f"down/{n}", data, retain=False) for n, data in payloads.items()),
            )
            assert up == {f"up/{n}": data for n, data in payloads.items()}
            assert down == {f"down/{n}": data for n, data in payloads.items()}

    play(scenario)


# --- the connection goes ---------------------------------------------------------------------------------------


def test_whoever_waits_for_an_acknowledgement_is_told_when_the_connection_breaks() -> None:
    async def publish_is_swallowed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONNACK)
        await reader.read(KILO)

    async def scenario() -> None:
        async with PlayedBroker(publish_is_swallowed) as played, linked(options(played.port)) as link:
            await event(link, Up)
            more = mqtt.INFLIGHT + 8
            ends = await asyncio.gather(*(link.deliver(f"t/{n}", b"x") for n in range(more)), return_exceptions=True)
            assert [type(end) for end in ends] == [LinkError] * more
            assert not link._acks

    play(scenario)


def test_a_delivery_without_a_connection_fails_at_once_and_names_the_topic() -> None:
    async def scenario() -> None:
        async with linked(options(free_port())) as link:
            with pytest.raises(LinkError, match="some/topic"):
                await link.deliver("some/topic", b"x")
            assert (await event(link, Down)).error is None
            assert link.traffic == (0, 0)

    play(scenario)


def test_a_cancelled_delivery_frees_its_place() -> None:
    async def scenario() -> None:
        async with PlayedBroker(stays(CONNACK)) as played, linked(options(played.port)) as link:
            await event(link, Up)
            for _ in range(3):
                waiting = [asyncio.create_task(link.deliver("t", b"x")) for _ in range(4)]
                await until(lambda: len(link._acks) == 4)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            assert not link._acks
            assert link._window._value == mqtt.INFLIGHT

    play(scenario)


@pytest.mark.broker
def test_a_link_that_is_cut_again_and_again_tells_each_time_and_always_comes_back(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with proxy_to(broker.port) as proxy, linked(options(proxy.port, "cut")) as link:
            carried = (0, 0)
            for _ in range(5):
                assert isinstance(await link.next(), Up)
                await link.deliver("cut/t", bytes(KILO))
                assert link.traffic > carried, "bytes of connections that ended stay counted"
                carried = link.traffic
                proxy.reset_all()
                assert isinstance(await link.next(), Down)
            assert link.traffic >= (carried[0], 5 * KILO)

    play(scenario)


@pytest.mark.broker
def test_nothing_of_an_old_connection_is_subscribed_on_a_new_one(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with (
            proxy_to(broker.port) as proxy,
            linked(options(proxy.port, "clean")) as link,
            linked(options(broker.port, "teller")) as teller,
        ):
            await event(teller, Up)
            await event(link, Up)
            link.subscribe("old/t", qos=1)
            await until(lambda: link.answered)
            proxy.reset_all()
            await event(link, Up)
            link.subscribe("new/t", qos=1)
            await until(lambda: link.answered)
            await teller.deliver("old/t", b"old", retain=False)
            await teller.deliver("new/t", b"new", retain=False)
            assert await event(link, Message) == Message("new/t", b"new")

    play(scenario)


def test_a_broker_that_accepts_and_stays_silent_is_given_up() -> None:
    async def scenario() -> None:
        async with PlayedBroker(stays(b"")) as played, linked(options(played.port, keepalive=1)) as link:
            down = await event(link, Down)
            assert down.error is None
            assert down.reason

    play(scenario)


def test_a_broker_that_stops_answering_is_noticed_within_two_keepalives() -> None:
    async def scenario() -> None:
        async with PlayedBroker(stays(CONNACK)) as played, linked(options(played.port, keepalive=1)) as link:
            await event(link, Up)
            began = time.monotonic()
            await event(link, Down)
            assert time.monotonic() - began < 5

    play(scenario)


def test_a_broker_that_refuses_is_quoted() -> None:
    async def scenario() -> None:
        async with PlayedBroker(says(REFUSED)) as played, linked(options(played.port)) as link:
            assert "the broker refused: Not authorized" in (await event(link, Down)).reason

    play(scenario)


# --- what a broker should not send -----------------------------------------------------------------------------


def test_a_packet_above_the_limit_ends_the_connection_by_name_before_room_is_made_for_it() -> None:
    async def scenario() -> None:
        huge = CONNACK + b"\x30\xff\xff\xff\x7f" + bytes(KILO)  # announces 256 MB
        async with PlayedBroker(says(huge), stays(CONNACK)) as played, linked(options(played.port)) as link:
            tracemalloc.start()
            down = await event(link, Down)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert isinstance(down.error, MessageTooLargeError)
            assert "268435455" in down.reason
            assert str(link._options.packet_limit) in down.reason
            assert peak < 4 << 20
            await event(link, Up)

    play(scenario)


@pytest.mark.broker
def test_a_retained_message_above_the_limit_does_not_reach_the_application(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        limit = 16 * KILO
        async with (
            linked(options(broker.port, "giver")) as giver,
            linked(options(broker.port, "taker", packet_limit=limit)) as taker,
        ):
            await event(giver, Up)
            await giver.deliver("size/fits", bytes(limit - 100))
            await giver.deliver("size/large", bytes(limit + 1))
            await event(taker, Up)
            taker.subscribe("size/fits")
            assert len((await event(taker, Message)).payload) == limit - 100
            taker.subscribe("size/large")
            found = await taker.next()
            assert isinstance(found, Down)
            assert isinstance(found.error, MessageTooLargeError)
            await event(taker, Up)

    play(scenario)


NONSENSE = [
    b"",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x15\x03\x03\x00\x02\x02\x50",  # a TLS alert
    b"\x20\xff\xff\xff\xff\xff",  # a length without an end
    b"\x20\x00",
    b"\x20\x02\x00\xff",
    CONNACK + b"\x00\x00",
    CONNACK + b"\xf0\x02\x00\x00",
    CONNACK + b"\x30\x00",
    CONNACK + b"\x30\x02\x00\x09",  # a topic longer than its packet
    CONNACK + b"\x30\x05\x00\x02\xff\xfe\x00",  # a topic that is not UTF-8
    CONNACK + b"\x36\x05\x00\x01t\x00\x01",  # QoS 3
    CONNACK + b"\x32\x03\x00\x01t",  # QoS 1 without a number
    CONNACK + b"\x90\x02\x00\x01",  # SUBACK of nothing
    CONNACK + b"\x40\x02\xff\xff",  # PUBACK of what was never sent
    *(CONNACK + random.Random(seed).randbytes(200) for seed in range(40)),
]


def test_no_nonsense_of_a_broker_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scripts = [says(data) for data in NONSENSE]
        async with (
            PlayedBroker(*scripts, stays(CONNACK)) as played,
            linked(options(played.port, keepalive=5, backoff=0.001, backoff_limit=0.001)) as link,
        ):
            for _ in NONSENSE:
                down = await event(link, Down)
                assert down.reason
                assert down.error is None or isinstance(down.error, MalformedMessageError | MessageTooLargeError)
            await event(link, Up)
            assert played.connections == len(NONSENSE) + 1

    play(scenario)


# --- the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["connected", "backing off", "never answered", "inbox full"])
def test_stop_ends_the_thread(state: str) -> None:
    async def scenario() -> None:
        flood = CONNACK + b"".join(b"\x30\x04\x00\x01tx" for _ in range(100))
        script = {"connected": stays(CONNACK), "never answered": stays(b""), "inbox full": stays(flood)}
        async with PlayedBroker(script.get(state, says(REFUSED))) as played:
            link = MqttLink(options(played.port, inbox=4, backoff=200.0, backoff_limit=300.0))
            link.start()
            if state == "never answered":
                await until(lambda: played.connections)
            else:
                await link.next()
            if state == "inbox full":
                await until(lambda: len(link._events) == 4)
            began = time.monotonic()
            await link.stop()
            assert time.monotonic() - began < 4
            assert link._thread is not None
            assert not link._thread.is_alive()

    play(scenario)


KILLED = """\
import asyncio, sys
from edgesync.host.mqtt import LinkOptions, MqttLink, Will

async def main():
    link = MqttLink(LinkOptions("127.0.0.1", int(sys.argv[1]), "victim", will=Will("will/victim", b"0")))
    link.start()
    await link.next()
    await link.deliver("will/victim", b"1")
    if sys.argv[2] == "stop":
        await link.stop()
    else:
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.broker
@pytest.mark.parametrize(("how", "last"), [("killed", [b"1", b"0"]), ("stop", [b"1"])])
def test_the_broker_tells_of_a_client_that_was_killed_and_not_of_one_that_said_goodbye(
    broker: MosquittoBroker, how: str, last: list[bytes]
) -> None:
    async def scenario() -> None:
        async with linked(options(broker.port, f"watcher-{how}")) as watcher:
            await event(watcher, Up)
            await watcher.deliver("will/victim", b"")
            watcher.subscribe("will/victim", qos=1)
            await until(lambda: watcher.answered)
            command = [sys.executable, "-c", KILLED, str(broker.port), how]
            child = await asyncio.to_thread(subprocess.Popen, command)
            try:
                assert (await event(watcher, Message)).payload == last[0]
                if how == "killed":
                    child.send_signal(signal.SIGKILL)
                await asyncio.to_thread(child.wait, LIMIT)
            finally:
                child.kill()
                child.wait()
            await watcher.deliver("will/victim", b"end", retain=False)
            told = []
            while told[-1:] != [b"end"]:
                told.append((await event(watcher, Message)).payload)
            assert [last[0], *told] == [*last, b"end"]

    play(scenario)


# --- TLS -------------------------------------------------------------------------------------------------------


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
