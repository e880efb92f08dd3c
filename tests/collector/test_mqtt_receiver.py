"""The mqtt receiver on a real mosquitto: nothing is acknowledged before it is taken, nothing is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from telemetry_parts import gauge, log

from collector_ext.component import Consumers
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.ids import Signal
from collector_ext.otlp.compact import pack
from collector_ext.otlp.encode import encode
from collector_ext.pdata import Data, Metrics
from collector_ext.receiver.mqtt import receiver as module
from collector_ext.receiver.mqtt.config import MqttReceiverConfig
from collector_ext.receiver.mqtt.factory import FACTORY
from collector_ext.receiver.mqtt.receiver import MqttReceiver
from collector_ext.registry import EntryPoints
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_life, check_registered, refusal
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.host.mqtt import LinkOptions, MqttLink, Up
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.wire import topics
from edgesync.wire.ids import DeviceId

FLEET = "acme"
LIMIT = 20.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path / "broker") as running:
        yield running


def test_it_keeps_the_contract() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    asyncio.run(check_life(FACTORY, MqttReceiverConfig(f"127.0.0.1:{free_port()}", FLEET)))


@pytest.mark.parametrize(
    ("key", "value"), [("endpoint", "nowhere"), ("endpoint", "a:0"), ("fleet", "Acme"), ("max_in_flight", 0)]
)
def test_a_config_that_cannot_be_says_which_key(key: str, value: object) -> None:
    changes = {"fleet": FLEET, key: value}
    assert refusal(FACTORY, **changes).startswith(key)


class Bench:
    """One receiver, and boards that tell."""

    def __init__(self, port: int) -> None:
        self.sink, self.host, self.port = Sink(), Host(), port
        self.made = settings("mqtt")
        self.boards = MqttLink(LinkOptions("127.0.0.1", port, "boards", backoff=0.05))
        self.receiver = self.new()

    def new(self) -> MqttReceiver:
        config = MqttReceiverConfig(f"127.0.0.1:{self.port}", FLEET)
        return MqttReceiver(self.made, config, Consumers(metrics=self.sink))

    async def tell(self, board: str, payload: bytes) -> None:
        await self.boards.deliver(topics.telemetry(FLEET, DeviceId(f"{FLEET}.{board}")), payload, retain=False)

    async def until(self, count: int) -> None:
        async def wait() -> None:
            while len(self.sink.batches) < count:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), LIMIT)

    async def outcomes(self, text: str) -> None:
        async def wait() -> None:
            while text.encode() not in self.made.meter.exposition():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), LIMIT)


@asynccontextmanager
async def bench(broker: MosquittoBroker) -> AsyncIterator[Bench]:
    made = Bench(broker.port)
    made.boards.start()
    while not isinstance(await made.boards.next(), Up):
        pass
    await made.receiver.start(made.host)
    await asyncio.wait_for(_ok(made.host), LIMIT)
    await asyncio.sleep(0.2)  # until the broker has the subscription
    try:
        yield made
    finally:
        await made.receiver.shutdown()
        await made.boards.stop()


async def _ok(host: Host) -> None:
    while host.status is not Status.OK:
        await asyncio.sleep(0.01)


def packed(data: Data, signal: Signal = Signal.METRICS) -> bytes:
    return pack(signal, encode(data))


@pytest.mark.broker
def test_a_board_is_named_by_its_topic_whatever_it_says_of_itself(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with bench(broker) as made:
            await made.tell("b1", packed(gauge([1.0], **{"edgesync.device": "acme.other"})))
            await made.until(1)
            (data,) = made.sink.batches
            assert isinstance(data, Metrics)
            assert data.resources[0].resource.attributes == {"edgesync.device": "acme.b1"}

    asyncio.run(scenario())


@pytest.mark.broker
def test_what_the_pipeline_did_not_take_comes_again_to_the_next_collector(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with bench(broker) as made:
            made.sink.error = RetryableError("a full disk")
            for n in range(5):
                await made.tell("b1", packed(gauge([float(n)])))
            await asyncio.sleep(0.3)
            assert made.sink.batches == []
            await made.receiver.shutdown()
            made.sink.error = None
            made.receiver = made.new()
            await made.receiver.start(Host())
            await made.until(5)
            assert len(made.sink.batches) == 5

    asyncio.run(scenario())


@pytest.mark.broker
def test_data_that_were_refused_for_now_are_offered_again_by_the_same_collector(
    broker: MosquittoBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_FIRST", 0.05)

    async def scenario() -> None:
        async with bench(broker) as made:
            made.sink.error = RetryableError("not now")
            await made.tell("b1", packed(gauge([1.0])))
            await asyncio.sleep(0.3)
            made.sink.error = None
            await made.until(1)

    asyncio.run(scenario())


@pytest.mark.broker
def test_the_same_message_is_told_once(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with bench(broker) as made:
            payload = packed(gauge([1.0]))
            for _ in range(3):
                await made.tell("b1", payload)
            await made.outcomes('collector_mqtt_messages{outcome="again"} 2')
            assert len(made.sink.batches) == 1

    asyncio.run(scenario())


@pytest.mark.broker
def test_what_nobody_will_ever_take_is_counted_and_holds_nothing_up(broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with bench(broker) as made:
            await made.tell("b1", b"\x00nonsense")
            await made.tell("b1", packed(log("nobody listens to logs here"), Signal.LOGS))
            await made.outcomes('outcome="malformed"} 1')
            await made.outcomes('outcome="no pipeline"} 1')
            made.sink.error = PermanentError("never")
            await made.tell("b1", packed(gauge([1.0])))
            await made.outcomes('outcome="dropped"} 1')
            made.sink.error = None
            await made.tell("b1", packed(gauge([2.0])))
            await made.until(1)

    asyncio.run(scenario())


@pytest.mark.broker
def test_a_board_that_talks_nonsense_is_a_line_in_the_log_and_hides_no_other_board(
    broker: MosquittoBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with bench(broker) as made:
            for board in ("b1", "b2"):
                for number in range(10):
                    await made.tell(board, b"\x00nonsense %d" % number)
            await made.outcomes('outcome="malformed"} 20')

    caplog.set_level("WARNING")
    asyncio.run(scenario())
    refused = [line for line in caplog.messages if line.startswith("refused ")]
    assert len(refused) == 2
    assert all(line.endswith("more such are only counted") for line in refused)


@pytest.mark.broker
def test_a_broker_that_goes_away_is_a_recoverable_error_told_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        with MosquittoBroker(tmp_path / "going") as running:
            made = Bench(running.port)
            await made.receiver.start(made.host)
            await asyncio.wait_for(_ok(made.host), LIMIT)
        await asyncio.sleep(0.5)
        assert made.host.status is Status.RECOVERABLE_ERROR
        await made.receiver.shutdown()

    asyncio.run(scenario())
