"""The two components that ride in an agent: what it tells becomes telemetry, and telemetry finds its way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from telemetry_parts import gauge, log

from collector_ext.component import Component, Consumers
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.mqtt import exporter as exporting
from collector_ext.exporter.mqtt.config import MqttExporterConfig, QueueConfig
from collector_ext.exporter.mqtt.exporter import MqttExporter
from collector_ext.exporter.mqtt.factory import FACTORY as EXPORTER
from collector_ext.exporter.otlp.factory import FACTORY as OTLP
from collector_ext.otlp.compact import unpack
from collector_ext.otlp.decode import decode
from collector_ext.pdata import Metrics, Sum, Temporality, Traces
from collector_ext.receiver.agent.config import AgentReceiverConfig
from collector_ext.receiver.agent.factory import FACTORY as RECEIVER
from collector_ext.receiver.agent.receiver import AgentReceiver
from collector_ext.registry import EntryPoints
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_registered, refusal
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.host.telemetry import Reading, TelemetryPort
from edgesync.wire import trace
from edgesync.wire.errors import ConfigError, LinkError
from edgesync.wire.ids import DeviceId
from edgesync.wire.trace import Link, Span

LIMIT = 10.0
DEVICE = DeviceId("acme.b1")


class Uplink:
    """A connection that is there, or not."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.up = True

    async def send(self, payload: bytes) -> None:
        if not self.up:
            raise LinkError("not connected")
        self.sent.append(payload)


async def until(condition: Callable[[], object]) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), LIMIT)


@pytest.mark.parametrize("factory", [EXPORTER, RECEIVER])
def test_they_keep_the_contract_and_say_where_they_can_run(factory: Any) -> None:
    check_factory(factory)
    check_registered(factory, EntryPoints())

    async def scenario() -> None:
        consumers = (Consumers(),) if factory is RECEIVER else ()
        component: Component = factory.create(settings("x"), factory.create_default_config(), *consumers)
        with pytest.raises(ConfigError, match=r"agent\.toml"):
            await component.start(Host())
        await component.shutdown()
        await component.shutdown()

    asyncio.run(scenario())


def test_a_config_that_cannot_be_is_refused() -> None:
    assert refusal(RECEIVER, collection_interval=0.1).startswith("collection_interval")
    with pytest.raises(ConfigError, match="size_kib"):
        QueueConfig(size_kib=1).validate()


def exporter(uplink: Uplink, directory: Path | None = None) -> MqttExporter:
    made = MqttExporter(settings("mqtt"), MqttExporterConfig(QueueConfig(str(directory or ""))))
    made.ride(DEVICE, TelemetryPort(), uplink)
    return made


def test_a_batch_goes_out_as_it_was() -> None:
    async def scenario() -> None:
        uplink, data = Uplink(), gauge([1.0, 2.0])
        made = exporter(uplink)
        await made.start(Host())
        await made.consume(data)
        await until(lambda: uplink.sent)
        await made.shutdown()
        assert decode(*unpack(uplink.sent[0])) == data

    asyncio.run(scenario())


def test_it_counts_what_its_queue_drops_beside_another_exporter() -> None:
    made = settings("mqtt")
    for factory in (EXPORTER, OTLP):
        factory.create(made, factory.create_default_config())
    assert b"# TYPE collector_queue_dropped counter" in made.meter.exposition()


def test_what_waits_in_its_queue_is_under_the_label_of_all_queues(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        uplink, made = Uplink(), settings("mqtt")
        uplink.up = False
        waits = MqttExporter(made, MqttExporterConfig(QueueConfig(str(tmp_path))))
        waits.ride(DEVICE, TelemetryPort(), uplink)
        await waits.start(Host())
        await waits.consume(gauge([1.0]))
        await waits.shutdown()
        return made.meter.exposition()

    text = asyncio.run(scenario())
    assert b'collector_queue_bytes{queue="mqtt"}' in text
    assert b'collector_queue_dropped{queue="mqtt"} 0' in text


def test_what_waits_at_the_end_goes_out_in_the_next_life_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "AGAIN_FIRST", 0.02)

    async def scenario() -> None:
        uplink = Uplink()
        uplink.up = False
        first, host = exporter(uplink, tmp_path), Host()
        await first.start(host)
        for n in range(5):
            await first.consume(gauge([float(n)]))
        await until(lambda: host.status is Status.RECOVERABLE_ERROR)
        await first.shutdown()
        second, host = exporter(uplink, tmp_path), Host()
        await second.start(host)
        await asyncio.sleep(0.05)
        uplink.up = True
        await until(lambda: len(uplink.sent) == 5)
        await second.shutdown()
        values = [decode(*unpack(m)).resources[0].scopes[0].metrics[0].data.points[0].value for m in uplink.sent]
        assert values == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert [event.status for event in host.events] == [Status.STARTING, Status.RECOVERABLE_ERROR, Status.OK]

    asyncio.run(scenario())


def test_the_last_words_of_an_agent_that_has_left_the_broker_are_no_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        uplink = Uplink()
        uplink.up = False
        made, host = exporter(uplink, tmp_path), Host()
        await made.start(host)
        await made.consume(gauge([1.0]))
        await asyncio.sleep(0.05)
        await made.shutdown()
        assert [event.status for event in host.events] == [Status.STARTING]

    asyncio.run(scenario())


def test_a_batch_that_no_collector_would_read_is_refused_for_good() -> None:
    async def scenario() -> None:
        made = exporter(Uplink())
        await made.start(Host())
        with pytest.raises(PermanentError, match="bytes"):
            await made.consume(log("x" * (5 << 20)))
        await made.shutdown()

    asyncio.run(scenario())


# --- what the agent tells ----------------------------------------------------------------------------------------


def receiver(sink: Sink, port: TelemetryPort, every: float = 60.0) -> AgentReceiver:
    made = AgentReceiver(settings("agent"), AgentReceiverConfig(every), Consumers(metrics=sink, traces=sink))  # type: ignore[arg-type]
    made.ride(DEVICE, port, Uplink())
    return made


def a_span(number: int = 0) -> Span:
    own, whole = trace.board_trace("r1", DEVICE), trace.rollout_trace("r1")
    link = Link(whole, trace.span_id(whole, trace.ROLLOUT))
    parent = trace.span_id(own, trace.BOARD)
    return Span(own, trace.span_id(own, "update", number), parent, "update", 10.5, 12.0, "x", {"a": "b"}, (link,))


def test_a_span_of_the_agent_keeps_its_trace_its_parent_and_its_link() -> None:
    async def scenario() -> None:
        sink, port = Sink(), TelemetryPort()
        made = receiver(sink, port)
        await made.start(Host())
        told = a_span()
        port.tell(told)
        await until(lambda: sink.batches)
        await made.shutdown()
        (data,) = sink.batches
        assert isinstance(data, Traces)
        (span,) = data.resources[0].scopes[0].spans
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (told.trace, told.parent)
        assert (span.start, span.end, span.message) == (10_500_000_000, 12_000_000_000, "x")
        assert [link.trace_id.hex() for link in span.links] == [told.links[0].trace]

    asyncio.run(scenario())


def test_what_is_told_while_the_pipeline_refuses_comes_with_what_is_told_next() -> None:
    async def scenario() -> None:
        sink, port = Sink(), TelemetryPort()
        sink.error = RetryableError("later")
        made = receiver(sink, port)
        await made.start(Host())
        port.tell(a_span(0))
        await asyncio.sleep(0.1)
        sink.error = None
        port.tell(a_span(1))
        await until(lambda: len(sink.batches) == 2)
        await made.shutdown()

    asyncio.run(scenario())


def test_what_the_link_carried_since_the_last_interval_is_told_before_a_reboot() -> None:
    async def scenario() -> list[Any]:
        sink, port, carried = Sink(), TelemetryPort(), [100]
        port.observe(lambda: [Reading("io", "By", carried[0], {"purpose": "blob"}, total=True, since=5.0)])
        made = receiver(sink, port)
        await made.start(Host())
        await until(lambda: sink.batches)
        carried[0] = 20_100
        await made.shutdown()
        await made.shutdown()
        return sink.batches

    values = [batch.resources[0].scopes[0].metrics[0].data.points[0].value for batch in asyncio.run(scenario())]
    assert values == [0, 20_000]


def test_a_life_does_not_tell_again_what_the_month_carried_before_it() -> None:
    async def scenario() -> list[Any]:
        sink, port, carried = Sink(), TelemetryPort(), 0

        def read() -> list[Reading]:
            nonlocal carried
            carried += 1000
            return [Reading("io", "By", carried, {"purpose": "blob"}, total=True, since=5.0)]

        port.observe(read)
        for _ in range(3):  # each with a reading at its start and one at its end
            made = receiver(sink, port)
            before = len(sink.batches)
            await made.start(Host())
            await until(lambda before=before: len(sink.batches) > before)
            await made.shutdown()
        return sink.batches

    values = [batch.resources[0].scopes[0].metrics[0].data.points[0].value for batch in asyncio.run(scenario())]
    assert values == [0, 1000] * 3


def test_a_broker_that_does_not_acknowledge_is_an_error_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "SEND_LIMIT", 0.02)

    class Deaf(Uplink):
        async def send(self, _payload: bytes) -> None:
            await asyncio.sleep(LIMIT)

    async def scenario() -> None:
        made, host = MqttExporter(settings("mqtt"), MqttExporterConfig()), Host()
        made.ride(DEVICE, TelemetryPort(), Deaf())
        await made.start(host)
        await made.consume(gauge([1.0]))
        await until(lambda: host.status is Status.RECOVERABLE_ERROR)
        await made.shutdown()
        assert str(host.events[-1].error) == "the broker has not acknowledged a message within 0.02 s"

    asyncio.run(scenario())


def test_totals_are_told_as_differences_and_begin_anew_with_a_month() -> None:
    made, moment = receiver(Sink(), TelemetryPort()), 0.0

    def told(value: int, since: float) -> tuple[Any, int]:
        nonlocal moment
        moment += 60.0
        metrics = made._metrics([Reading("io", "By", value, {"purpose": "blob"}, total=True, since=since)], moment)
        assert isinstance(metrics, Metrics)
        data = metrics.resources[0].scopes[0].metrics[0].data
        assert isinstance(data, Sum)
        assert data.temporality is Temporality.DELTA
        return data.points[0].value, data.points[0].start

    assert told(100, 5.0) == (0, 60_000_000_000)
    assert told(130, 5.0) == (30, 60_000_000_000)
    assert told(130, 5.0) == (0, 120_000_000_000)
    assert told(7, 200.0) == (7, 200_000_000_000)
