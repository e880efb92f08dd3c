"""The MQTT link against a broker that lies, floods and talks nonsense."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from mqtt_parts import (
    CONNACK,
    KILO,
    PlayedBroker,
    event,
    linked,
    options,
    play,
    says,
    stays,
)

from edgesync.host.mqtt import Down, Message, Up
from edgesync.sim.broker import MosquittoBroker
from edgesync.wire.errors import MalformedMessageError, MessageTooLargeError


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


def test_no_nonsense_of_a_broker_ends_the_link() -> None:
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
