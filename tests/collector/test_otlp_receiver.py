"""The otlp receiver over HTTP: what the official exporter and our own send arrives, and no request can hurt it."""

from __future__ import annotations

import asyncio
import gzip
import http.client
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from telemetry_parts import gauge, log, span

from collector_ext.component import Consumers
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlphttp.client import connect
from collector_ext.exporter.otlphttp.config import OtlpHttpConfig
from collector_ext.ids import Signal
from collector_ext.otlp.encode import encode
from collector_ext.pdata import Traces
from collector_ext.receiver.otlp.config import HttpConfig, OtlpReceiverConfig, ProtocolsConfig
from collector_ext.receiver.otlp.factory import FACTORY
from collector_ext.receiver.otlp.http import PROTOBUF
from collector_ext.receiver.otlp.receiver import OtlpReceiver
from collector_ext.registry import EntryPoints
from collector_ext.testing.contract import check_factory, check_life, check_registered
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.wire.errors import ConfigError

HERE = HttpConfig("127.0.0.1:0", 4096)
GOOD = encode(gauge([1.5]))
Headers = dict[str, str]


def test_it_keeps_the_contract() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    asyncio.run(check_life(FACTORY, OtlpReceiverConfig(ProtocolsConfig(http=HERE))))


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"endpoint": "x"}, "endpoint: found 'x'"), ({"max_request_body_size": 9}, "max_request_body_size: found 9")],
)
def test_a_config_that_cannot_be_says_which_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(HERE, **changes).validate()


def run(scenario: Callable[[int, Sink], Awaitable[None]], *, without_logs: bool = False) -> None:
    async def whole() -> None:
        sink = Sink()
        consumers = Consumers(sink, sink, None if without_logs else sink)
        receiver = OtlpReceiver(settings("otlp"), OtlpReceiverConfig(ProtocolsConfig(http=HERE)), consumers)
        await receiver.start(Host())
        try:
            await scenario(receiver.listeners["http"].port, sink)
        finally:
            await receiver.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 60))


async def post(port: int, path: str, body: bytes, **headers: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of the answer."""

    def ask() -> tuple[int, Headers, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        told = {"Content-Type": PROTOBUF, **{name.replace("_", "-"): text for name, text in headers.items()}}
        connection.request("POST", path, body, told)
        answer = connection.getresponse()
        try:
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_our_exporter_sends_arrives_as_it_was(compression: Any) -> None:
    several = [gauge([1.5]), span("fetching"), log("out of memory")]

    async def scenario(port: int, sink: Sink) -> None:
        transport = connect(OtlpHttpConfig(f"http://127.0.0.1:{port}", compression=compression))
        for signal, data in zip((Signal.METRICS, Signal.TRACES, Signal.LOGS), several, strict=True):
            assert await transport.send(signal, encode(data)) == b""
        assert sink.batches == several

    run(scenario)


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.NoCompression])
def test_what_the_official_exporter_sends_arrives(compression: Compression) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        def send() -> None:
            exporter = OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces", compression=compression)
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            for name in ("one", "two"):
                provider.get_tracer("test").start_span(name).end()
            provider.shutdown()

        await asyncio.to_thread(send)
        spans = [
            s for d in sink.batches if isinstance(d, Traces) for r in d.resources for c in r.scopes for s in c.spans
        ]
        assert [span.name for span in spans] == ["one", "two"]

    run(scenario)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "says"),
    [
        ("/v1/metrics", b"\xff", {}, 400, "MalformedMessage: OTLP request of 1 bytes"),
        ("/v1/metrics", b"no gzip", {"Content_Encoding": "gzip"}, 400, "the body's gzip does not inflate"),
        ("/v1/metrics", gzip.compress(GOOD)[:-3], {"Content_Encoding": "gzip"}, 400, "cut off"),
        ("/v1/metrics", gzip.compress(GOOD) + b"x", {"Content_Encoding": "gzip"}, 400, "behind its end"),
        ("/v1/metrics", gzip.compress(bytes(50_000_000)), {"Content_Encoding": "gzip"}, 413, ""),
        ("/v1/metrics", gzip.compress(bytes(100_000)), {"Content_Encoding": "gzip"}, 413, "more than 4096 bytes"),
        ("/v1/metrics", bytes(4097), {}, 413, ""),
        ("/v1/metrics", GOOD, {"Content_Encoding": "zstd"}, 415, "'zstd'"),
        ("/v1/metrics", b"{}", {"Content_Type": "application/json"}, 415, "'application/json'"),
        ("/v1/profiles", GOOD, {}, 404, "no pipeline takes /v1/profiles"),
        ("/v1/logs", GOOD, {}, 404, "no pipeline takes /v1/logs"),
    ],
)
def test_what_it_cannot_take_is_refused_with_a_reason(
    path: str, body: bytes, headers: Headers, status: int, says: str
) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        for name in ("Content-Type", "Content-Encoding"):
            headers.setdefault(name.replace("-", "_"), {"Content-Type": PROTOBUF, "Content-Encoding": "identity"}[name])
        found, _, answer = await post(port, path, body, **headers)
        assert found == status
        if says:
            assert says in Status.FromString(answer).message
        assert (await post(port, "/v1/metrics", GOOD))[0] == 200
        assert sink.batches == [gauge([1.5])]

    run(scenario, without_logs=True)


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (RetryableError("full", 7.2), 503, "7"),
        (RetryableError("full"), 503, "1"),
        (PermanentError("too odd"), 400, None),
    ],
)
def test_what_the_pipeline_says_is_what_the_sender_hears(error: Exception, status: int, after: str | None) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        sink.error = error
        found, headers, answer = await post(port, "/v1/metrics", GOOD)
        assert (found, headers.get("Retry-After")) == (status, after)
        assert str(error) in Status.FromString(answer).message

    run(scenario)


def test_a_flood_of_wrong_requests_is_a_line_of_each_kind_in_the_log_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        for number in range(20):
            assert (await post(port, "/v1/metrics", b"\xff" * (number + 1)))[0] == 400
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("refused metrics: MalformedMessage: ")
        assert caplog.messages[0].endswith("more such are only counted")
        sink.error = PermanentError("too odd")
        for _ in range(3):
            assert (await post(port, "/v1/metrics", GOOD))[0] == 400
        assert len(caplog.messages) == 2
        assert "too odd" in caplog.messages[1]

    caplog.set_level("WARNING")
    run(scenario)


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["metrics", "traces", "logs"]), st.binary(max_size=200), st.booleans())))
def test_it_takes_good_data_whatever_came_before(several: list[tuple[str, bytes, bool]]) -> None:
    async def scenario(port: int, sink: Sink) -> None:
        for signal, body, packed in several[:5]:
            coding = "gzip" if packed else "identity"
            assert (await post(port, f"/v1/{signal}", body, Content_Encoding=coding))[0] in (200, 400)
        assert (await post(port, "/v1/metrics", GOOD))[0] == 200
        assert sink.batches[-1] == gauge([1.5])

    run(scenario)
