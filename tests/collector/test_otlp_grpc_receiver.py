"""The otlp receiver over gRPC: what the official exporters and our own send arrives, and no request can hurt it."""

from __future__ import annotations

import asyncio
import gzip
import queue
import re
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from telemetry_parts import gauge, log, span

from collector_ext.component import Consumers
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlp.client import GrpcTransport
from collector_ext.exporter.otlp.config import OtlpConfig
from collector_ext.ids import Signal
from collector_ext.otlp.backend import TlsConfig
from collector_ext.otlp.encode import encode
from collector_ext.otlp.rpc import METHOD, SERVICES
from collector_ext.pdata import Data, Logs, Metrics, Traces
from collector_ext.receiver.otlp import grpc as module
from collector_ext.receiver.otlp.config import GrpcConfig, HttpConfig, OtlpReceiverConfig, ProtocolsConfig
from collector_ext.receiver.otlp.factory import FACTORY
from collector_ext.receiver.otlp.receiver import OtlpReceiver
from collector_ext.selfmetrics import Meter
from collector_ext.testing.contract import check_life
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.sim.broker import free_port
from edgesync.wire.errors import ConfigError, NotReachableError

HERE = GrpcConfig("127.0.0.1:0", 1)
GOOD = encode(gauge([1.5]))
MIB = 1 << 20


def test_it_keeps_the_contract_with_each_protocol_and_with_both() -> None:
    http = HttpConfig("127.0.0.1:0")
    for protocols in (ProtocolsConfig(grpc=HERE), ProtocolsConfig(grpc=HERE, http=http)):
        asyncio.run(check_life(FACTORY, OtlpReceiverConfig(protocols)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"endpoint": "x"}, "endpoint: found 'x'"), ({"max_recv_msg_size_mib": 17}, "max_recv_msg_size_mib: found 17")],
)
def test_a_config_that_cannot_be_says_which_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(HERE, **changes).validate()
    with pytest.raises(ConfigError, match="at least one protocol"):
        OtlpReceiverConfig().validate()


def receiver(consumers: Consumers, config: GrpcConfig = HERE, meter: Meter | None = None) -> OtlpReceiver:
    return OtlpReceiver(settings("otlp", meter), OtlpReceiverConfig(ProtocolsConfig(grpc=config)), consumers)


def run(
    scenario: Callable[[int, Sink], Awaitable[None]], *, without_logs: bool = False, meter: Meter | None = None
) -> None:
    async def whole() -> None:
        sink = Sink()
        made = receiver(Consumers(sink, sink, None if without_logs else sink), meter=meter)
        await made.start(Host())
        try:
            await scenario(made.listeners["grpc"].port, sink)
        finally:
            await made.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 120))


Answer = tuple[grpc.StatusCode, str, bytes]


async def call(
    port: int, body: bytes, compression: grpc.Compression | None = None, signal: Signal = Signal.METRICS
) -> Answer:
    """Status, its text, and the google.rpc.Status beside it, as the synchronous client sees them."""

    def ask() -> Answer:
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                export = channel.unary_unary(f"/{SERVICES[signal]}/{METHOD}")
                assert export(body, timeout=60, compression=compression) == b""
            except grpc.RpcError as refused:
                found: Any = refused
                details = dict(found.trailing_metadata()).get("grpc-status-details-bin", b"")
                return found.code(), found.details(), details
            return grpc.StatusCode.OK, "", b""

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_our_exporter_sends_arrives_as_it_was(compression: Any) -> None:
    several: list[Data] = [gauge([1.5] * 500), span("fetching"), log("out of memory")]

    async def scenario(port: int, sink: Sink) -> None:
        tls = TlsConfig(insecure=True)
        transport = GrpcTransport(OtlpConfig(f"127.0.0.1:{port}", compression=compression, tls=tls))
        for signal, data in zip((Signal.METRICS, Signal.TRACES, Signal.LOGS), several, strict=True):
            assert await transport.send(signal, encode(data)) == b""
        await transport.close()
        assert sink.batches == several

    run(scenario)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_what_the_official_exporters_send_arrives(compression: grpc.Compression) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        def send() -> None:
            at: dict[str, Any] = {"endpoint": f"http://127.0.0.1:{port}", "insecure": True, "compression": compression}
            traces = TracerProvider(shutdown_on_exit=False)
            traces.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**at)))
            traces.get_tracer("test").start_span("one").end()
            traces.shutdown()
            reader = PeriodicExportingMetricReader(OTLPMetricExporter(**at), export_interval_millis=600_000)
            metrics = MeterProvider([reader], shutdown_on_exit=False)
            metrics.get_meter("test").create_counter("two").add(2)
            metrics.shutdown()
            logs = LoggerProvider(shutdown_on_exit=False)
            logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**at)))
            logs.get_logger("test").emit(body="three")
            logs.shutdown()

        await asyncio.to_thread(send)
        found: list[object] = []
        for data in sink.batches:
            match data:
                case Traces(resources):
                    found += [one.name for r in resources for s in r.scopes for one in s.spans]
                case Metrics(resources):
                    found += [one.name for r in resources for s in r.scopes for one in s.metrics]
                case Logs(resources):
                    found += [one.body for r in resources for s in r.scopes for one in s.records]
        assert found == ["one", "two", "three"]

    run(scenario)


@pytest.mark.parametrize(
    ("body", "compression", "code", "says"),
    [
        (b"\xff", None, grpc.StatusCode.INVALID_ARGUMENT, "MalformedMessage: OTLP request of 1 bytes"),
        (gzip.compress(GOOD)[:-3], None, grpc.StatusCode.INVALID_ARGUMENT, "MalformedMessage: the body's gzip is cut"),
        (gzip.compress(bytes(3 * MIB)), None, grpc.StatusCode.RESOURCE_EXHAUSTED, "more than 1048576 bytes"),
        (bytes(3 * MIB), grpc.Compression.Gzip, grpc.StatusCode.RESOURCE_EXHAUSTED, "more than 1048576 bytes"),
        (bytes(2 * MIB), None, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
        (GOOD * 9, grpc.Compression.Deflate, grpc.StatusCode.UNIMPLEMENTED, "deflate"),
    ],
)
def test_what_it_cannot_take_is_refused_with_a_reason(
    body: bytes, compression: grpc.Compression | None, code: grpc.StatusCode, says: str
) -> None:
    meter = Meter()

    async def scenario(port: int, sink: Sink) -> None:
        found, text, _ = await call(port, body, compression)
        assert (found, says in text) == (code, True), text
        assert (await call(port, GOOD))[0] is grpc.StatusCode.OK
        assert sink.batches == [gauge([1.5])]

    run(scenario, meter=meter)
    counted = re.findall(r'collector_otlp_requests{.*status="(\w+)"} 1', meter.exposition().decode())
    # What gRPC's core refuses is counted as unread, or was over before anybody here heard of it.
    assert set(counted) in ({"OK", code.name}, {"OK", "UNREAD"}, {"OK"})


def test_a_signal_that_no_pipeline_carries_is_not_implemented() -> None:
    async def scenario(port: int, sink: Sink) -> None:
        assert (await call(port, b"", signal=Signal.LOGS))[0] is grpc.StatusCode.UNIMPLEMENTED
        assert sink.batches == []

    run(scenario, without_logs=True)


def test_a_bomb_costs_its_limit_and_not_what_it_inflates_to() -> None:
    """256 MiB of zeros are 0.3 MB of gzip, which is under the limit of what is read."""
    bomb = gzip.compress(bytes(256 * MIB), 6)

    async def scenario(port: int, _sink: Sink) -> None:
        assert len(bomb) < MIB
        tracemalloc.start()
        try:
            assert (await call(port, bomb))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * MIB

    run(scenario)


@pytest.mark.parametrize(
    ("error", "code", "delay"),
    [
        (RetryableError("full", 7.25), grpc.StatusCode.UNAVAILABLE, 7.25),
        (RetryableError("full"), grpc.StatusCode.UNAVAILABLE, None),
        (PermanentError("too odd " * 1000), grpc.StatusCode.INVALID_ARGUMENT, None),
    ],
)
def test_what_the_pipeline_says_is_what_the_sender_hears(
    error: Exception, code: grpc.StatusCode, delay: float | None
) -> None:
    meter = Meter()

    async def scenario(port: int, sink: Sink) -> None:
        sink.error = error
        found, text, beside = await call(port, GOOD)
        status, info = Status.FromString(beside), RetryInfo()
        assert (found, text) == (code, status.message)
        assert str(error)[:100] in text
        assert status.code == code.value[0]
        asked = [info.retry_delay.ToMilliseconds() / 1000 for detail in status.details if detail.Unpack(info)]
        assert asked == ([] if delay is None else [delay])

    run(scenario, meter=meter)
    assert meter.total("collector_otlp_requests") == 1


class Slow:
    """A consumer that takes nothing before it is told to."""

    def __init__(self) -> None:
        self.waiting, self.go = 0, asyncio.Event()

    async def consume(self, _data: Data) -> None:
        self.waiting += 1
        try:
            await self.go.wait()
        finally:
            self.waiting -= 1


def test_only_so_many_are_served_at_once_and_the_others_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENTS", 2)

    async def whole() -> None:
        slow = Slow()
        made = receiver(Consumers(slow))
        await made.start(Host())
        port = made.listeners["grpc"].port
        served = [asyncio.ensure_future(call(port, GOOD)) for _ in range(2)]
        while slow.waiting < 2:
            await asyncio.sleep(0.01)
        code, text, beside = await call(port, GOOD)
        assert (code, text) == (grpc.StatusCode.UNAVAILABLE, "2 send already")
        assert Status.FromString(beside).details
        slow.go.set()
        assert [(await one)[0] for one in served] == [grpc.StatusCode.OK] * 2
        assert (await call(port, GOOD))[0] is grpc.StatusCode.OK
        await made.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_only_so_many_connect_and_the_others_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 2)

    async def scenario(port: int, _sink: Sink) -> None:
        several = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert [bool(await reader.read(9)) for reader, _ in several] == [True, True, False]
        assert (await call(port, GOOD))[0] is grpc.StatusCode.UNAVAILABLE
        for _, writer in several:
            writer.close()
        while (await call(port, GOOD))[0] is not grpc.StatusCode.OK:
            await asyncio.sleep(0.05)

    run(scenario)


def test_whoever_opens_a_request_and_sends_none_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIME_LIMIT", 0.2)

    def ask(port: int) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            requests: queue.Queue[bytes | None] = queue.Queue()
            silent = channel.stream_unary(f"/{SERVICES[Signal.METRICS]}/{METHOD}").future(iter(requests.get, None))
            try:
                return silent.exception(30).code()
            finally:
                requests.put(None)

    async def scenario(port: int, sink: Sink) -> None:
        assert await asyncio.to_thread(ask, port) is grpc.StatusCode.DEADLINE_EXCEEDED
        monkeypatch.setattr(module, "TIME_LIMIT", 30.0)
        assert (await call(port, GOOD))[0] is grpc.StatusCode.OK

    run(scenario)


def test_a_pipeline_that_hangs_lets_the_sender_go_and_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAKE_LIMIT", 0.1)

    async def whole() -> None:
        slow = Slow()
        made = receiver(Consumers(slow))
        await made.start(Host())
        code, text, _ = await call(made.listeners["grpc"].port, GOOD)
        assert (code, text) == (grpc.StatusCode.UNAVAILABLE, "not taken within 0.1 s")
        assert slow.waiting == 0
        await made.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_a_request_under_way_at_the_end_is_a_retry_for_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)

    async def whole() -> None:
        slow = Slow()
        made = receiver(Consumers(slow))
        await made.start(Host())
        sent = asyncio.ensure_future(call(made.listeners["grpc"].port, GOOD))
        while not slow.waiting:
            await asyncio.sleep(0.01)
        await made.shutdown()
        assert (await sent)[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert slow.waiting == 0

    asyncio.run(asyncio.wait_for(whole(), 60))


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Signal), st.binary(max_size=200), st.booleans()), max_size=5))
def test_it_takes_good_data_whatever_came_before(several: list[tuple[Signal, bytes, bool]]) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        for signal, body, packed in several:
            found = await call(port, body, grpc.Compression.Gzip if packed else None, signal)
            assert found[0] in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
        assert (await call(port, GOOD))[0] is grpc.StatusCode.OK
        assert sink.batches[-1] == gauge([1.5])

    run(scenario)


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_it_takes_good_data_whatever_bytes_a_connection_brings(noise: bytes, greets: bool) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" * greets + noise)
        writer.close()
        assert (await call(port, GOOD))[0] is grpc.StatusCode.OK
        assert sink.batches == [gauge([1.5])]

    run(scenario)


@pytest.mark.parametrize("endpoint", ["localhost:{}", ":{}", "127.0.0.1:{}"])
def test_an_address_that_is_taken_is_a_named_error(endpoint: str) -> None:
    async def whole(config: GrpcConfig) -> None:
        made = receiver(Consumers(Sink()), config)
        try:
            await made.start(Host())
        finally:
            await made.shutdown()

    with socket.create_server(("", 0)) as taken:
        config = GrpcConfig(endpoint.format(taken.getsockname()[1]))
        with pytest.raises(NotReachableError, match=f"cannot listen on {config.endpoint}"):
            asyncio.run(whole(config))
    asyncio.run(whole(GrpcConfig(endpoint.format(free_port()))))


def test_it_listens_on_a_unix_socket_too_also_where_one_was_left(tmp_path: Path) -> None:
    path = tmp_path / "otlp.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def whole() -> None:
        sink = Sink()
        made = receiver(Consumers(sink), GrpcConfig(f"unix://{path}"))
        await made.start(Host())
        transport = GrpcTransport(OtlpConfig(f"unix://{path}", tls=TlsConfig(insecure=True)))
        await transport.send(Signal.METRICS, GOOD)
        await transport.close()
        await made.shutdown()
        assert sink.batches == [gauge([1.5])]

    asyncio.run(asyncio.wait_for(whole(), 60))


LOADED = """
import sys
from collector_ext.component import Consumers
from collector_ext.receiver.otlp.config import HttpConfig, OtlpReceiverConfig, ProtocolsConfig
from collector_ext.receiver.otlp.factory import FACTORY
from collector_ext.testing.doubles import settings
import collector_ext.exporter.otlphttp.factory
FACTORY.create(settings("otlp"), OtlpReceiverConfig(ProtocolsConfig(http=HttpConfig())), Consumers())
sys.exit("grpc" in sys.modules)
"""


def test_grpc_is_loaded_only_where_it_is_named() -> None:
    subprocess.run([sys.executable, "-c", LOADED], check=True, timeout=60)
