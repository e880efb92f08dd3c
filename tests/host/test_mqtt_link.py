"""The MQTT link as its application sees it, against a real mosquitto: delivery, back-pressure, cuts and the end."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from mqtt_parts import (
    CONNACK,
    KILO,
    LIMIT,
    REFUSED,
    PlayedBroker,
    event,
    linked,
    options,
    play,
    proxy_to,
    says,
    stays,
    until,
)
from paho.mqtt import client as paho

from edgesync.host import mqtt, tcp
from edgesync.host.mqtt import Down, Message, MqttLink, Up, Will
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.wire.errors import LinkError

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
            assert (link.carried.inward, link.carried.outward) == (0, 0)
            tries, rest = divmod(link.carried.total, tcp.REFUSED)
            assert (tries > 0, rest) == (True, 0), "also what came to nothing is paid for"

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
            carried = tcp.Carried()
            for _ in range(5):
                assert isinstance(await link.next(), Up)
                await link.deliver("cut/t", bytes(KILO))
                assert link.carried.outward > carried.outward, "bytes of connections that ended stay counted"
                carried = link.carried
                proxy.reset_all()
                assert isinstance(await link.next(), Down)
            assert link.carried.inward >= carried.inward
            assert link.carried.outward >= 5 * KILO

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


@pytest.mark.broker
def test_a_link_that_rests_says_goodbye_stays_away_and_comes_back_with_the_will_that_is_wanted_then(
    broker: MosquittoBroker,
) -> None:
    async def scenario() -> None:
        will = Will("rest/up", b"0")
        async with linked(options(broker.port, "watcher")) as watcher:
            await event(watcher, Up)
            watcher.subscribe("rest/up")
            async with proxy_to(broker.port) as proxy, linked(options(proxy.port, "rests", will=will)) as link:
                for announced in (True, False):
                    await event(link, Up)
                    carried = link.carried.total
                    link.rest()
                    await event(link, Down)
                    await asyncio.sleep(0.3)
                    assert link.carried.total <= carried + 400, "it does not even try"
                    assert not watcher._events, "a goodbye is not the last will"
                    link.announced = announced
                    link.go_on()
                    await event(link, Up)
                    proxy.reset_all()
                    if announced:
                        assert (await event(watcher, Message)).payload == b"0"
                    await event(link, Down)
                await asyncio.sleep(0.3)
                assert not watcher._events

    play(scenario)


def test_a_link_that_rests_can_be_stopped() -> None:
    async def scenario() -> None:
        async with linked(options(free_port())) as link:
            await event(link, Down)
            link.rest()
            await asyncio.sleep(0.1)

    play(scenario)
