"""A link with a session: what was not acknowledged comes again, what was does not, over restarts of the reader too."""

from __future__ import annotations

import asyncio

import pytest
from mqtt_parts import event, linked, options, play, proxy_to, until

from edgesync.host.mqtt import Down, Message, MqttLink, Up
from edgesync.sim.broker import MosquittoBroker

pytestmark = pytest.mark.broker


async def begin(link: MqttLink) -> None:
    await event(link, Up)
    link.subscribe("told/+", qos=1)
    await until(lambda: link.answered)


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.payload) for message in messages]


def test_only_what_was_acknowledged_is_over_for_a_reader_that_comes_back(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        keeping = options(broker.port, "keeper", session=True)
        async with linked(options(broker.port, "teller")) as writer:
            await event(writer, Up)
            async with linked(keeping) as reader:
                await begin(reader)
                for n in range(6):
                    await writer.deliver(f"told/{n}", b"%d" % n, retain=False)
                got = [await event(reader, Message) for _ in range(6)]
                assert numbers(got) == list(range(6))
                for message in got[:4]:
                    reader.acknowledge(message)
                await asyncio.sleep(0.2)
            await writer.deliver("told/6", b"6", retain=False)  # while nobody reads
            async with linked(keeping) as reader:
                await event(reader, Up)
                again = [await event(reader, Message) for _ in range(3)]
                assert sorted(numbers(again)) == [4, 5, 6]
                for message in again:
                    reader.acknowledge(message)
                await asyncio.sleep(0.2)
            async with linked(keeping) as reader:
                await event(reader, Up)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(event(reader, Message), 0.5)

    play(scenario)


def test_an_acknowledgement_from_an_earlier_connection_counts_for_nothing(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with (
            linked(options(broker.port, "teller2")) as writer,
            proxy_to(broker.port) as proxy,
            linked(options(proxy.port, "keeper2", session=True)) as reader,
        ):
            await begin(reader)
            await event(writer, Up)
            await writer.deliver("told/1", b"1", retain=False)
            old = await event(reader, Message)
            proxy.reset_all()
            await event(reader, Down)
            await event(reader, Up)
            new = await event(reader, Message)
            assert (new.topic, new.payload) == (old.topic, old.payload)
            assert new.receipt != old.receipt
            reader.acknowledge(old)
            proxy.reset_all()
            await event(reader, Up)
            assert (await event(reader, Message)).payload == b"1", "it was not taken for the newer one's"

    play(scenario)
