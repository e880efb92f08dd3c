"""The otlp exporter: its configuration, and what is gRPC's own. What it shares with otlphttp: test_otlp_sending.py."""

from __future__ import annotations

import asyncio
import gzip
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import certify
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import DESCRIPTOR as LOGS
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import DESCRIPTOR as METRICS
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import DESCRIPTOR as TRACES
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from telemetry_parts import gauge

from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlp.client import RETRYABLE, GrpcTransport
from collector_ext.exporter.otlp.config import OtlpConfig
from collector_ext.exporter.otlp.factory import FACTORY, NEWER
from collector_ext.ids import Signal
from collector_ext.otlp.backend import TlsConfig
from collector_ext.otlp.encode import encode
from collector_ext.otlp.response import failure, rejected, retry_delay
from collector_ext.otlp.rpc import METHOD, SERVICES
from collector_ext.otlp.sending import ANSWER_LIMIT, DELAY_LIMIT
from collector_ext.registry import EntryPoints
from collector_ext.settings.bind import Secret
from collector_ext.testing.contract import check_factory, check_life, check_registered, refusal
from edgesync.sim.broker import free_port
from edgesync.wire.errors import EdgesyncError
from tests.grpc_endpoint import grpc_backend

INSECURE = TlsConfig(insecure=True)


def test_it_keeps_the_contract_and_has_the_newer_name_too() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    check_registered(NEWER, EntryPoints())
    asyncio.run(check_life(FACTORY, OtlpConfig("localhost:4317", tls=INSECURE)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "endpoint: found ''"),
        ({"endpoint": "localhost"}, "endpoint: found 'localhost', expected host:port"),
        ({"endpoint": "http://localhost:4317"}, "endpoint: found 'http://localhost:4317' with TLS"),
        ({"endpoint": "localhost:1", "headers": {"a b": Secret("c")}}, "headers: found 'a b'"),
        ({"endpoint": "localhost:1", "headers": {"Grpc-Timeout": Secret("c")}}, "headers: found 'grpc-timeout'"),
        ({"endpoint": "localhost:1", "headers": {"a-bin": Secret("c")}}, "headers: found 'a-bin'"),
    ],
)
def test_a_config_that_cannot_be_says_which_key(changes: dict[str, Any], says: str) -> None:
    assert refusal(FACTORY, **changes).startswith(says)


@pytest.mark.parametrize(
    ("endpoint", "insecure", "target", "encrypted"),
    [
        ("localhost:4317", False, "localhost:4317", True),
        ("localhost:4317", True, "localhost:4317", False),
        ("https://a.example:4317/", True, "a.example:4317", True),
        ("http://[::1]:4317", True, "[::1]:4317", False),
        ("unix:///run/otlp.sock", True, "unix:///run/otlp.sock", False),
    ],
)
def test_an_endpoint_is_read_as_the_collector_reads_it(
    endpoint: str, insecure: bool, target: str, encrypted: bool
) -> None:
    config = OtlpConfig(endpoint, tls=TlsConfig(insecure=insecure))
    config.validate()
    assert (config.target, config.encrypted) == (target, encrypted)


def test_the_methods_are_those_of_the_official_package() -> None:
    official = {
        signal: next(iter(descriptor.services_by_name.values()))
        for signal, descriptor in ((Signal.METRICS, METRICS), (Signal.TRACES, TRACES), (Signal.LOGS, LOGS))
    }
    assert {signal: service.full_name for signal, service in official.items()} == SERVICES
    assert {method.name for service in official.values() for method in service.methods} == {METHOD}


def send(endpoint: str, request: bytes = b"", tls: TlsConfig = INSECURE) -> bytes:
    """The answer to one request of metrics."""

    async def whole() -> bytes:
        transport = GrpcTransport(OtlpConfig(endpoint, tls=tls))
        try:
            return await transport.send(Signal.METRICS, request)
        finally:
            await transport.close()

    return asyncio.run(asyncio.wait_for(whole(), 60))


def told(code: grpc.StatusCode, details: bytes = b"") -> RetryableError | PermanentError:
    """What an answer of a backend means for the data."""
    with grpc_backend() as kept:
        kept.always = (code, details)
        with pytest.raises((RetryableError, PermanentError)) as found:
            send(kept.endpoint)
    assert f"{kept.endpoint}: {code.name}: told to" in str(found.value)
    return found.value


def test_every_status_but_those_of_the_specification_is_for_good() -> None:
    again = {code for code in grpc.StatusCode if code.value[0] and isinstance(told(code), RetryableError)}
    assert again == set(RETRYABLE)


@pytest.mark.parametrize(
    ("details", "delay"),
    [
        (failure("later", 8, 7.5), 7.5),
        (failure("much later", 8, 99999.0), DELAY_LIMIT),
        (failure("never"), None),
        (b"\xff\xff", None),
    ],
)
def test_an_exhausted_backend_gets_the_data_again_only_where_it_says_when(details: bytes, delay: float | None) -> None:
    error = told(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
    assert isinstance(error, PermanentError if delay is None else RetryableError)
    assert getattr(error, "delay", None) == delay


def test_a_backend_may_ask_for_a_pause() -> None:
    error = told(grpc.StatusCode.UNAVAILABLE, failure("soon", 14, 0.25))
    assert isinstance(error, RetryableError)
    assert error.delay == 0.25


@given(st.binary(max_size=60))
def test_any_bytes_say_what_was_rejected_and_when_to_come_again_or_nothing(body: bytes) -> None:
    count, text = rejected(body)
    assert count >= 0
    assert text.isprintable()
    assert (retry_delay(body) or 0.0) >= 0.0


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_an_answer_is_read_whether_the_backend_compresses_it_or_not(compression: grpc.Compression) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans, answer.partial_success.error_message = 3, "old " * 40
    with grpc_backend(compression=compression) as kept:
        kept.answers.append(answer)
        assert rejected(send(kept.endpoint)) == (3, "old " * 40)


@pytest.mark.parametrize("answer", [gzip.compress(bytes(50_000_000)), gzip.compress(b"a")[:-1], b"\xff" * 100])
def test_an_answer_that_is_a_bomb_or_no_otlp_is_as_good_as_an_empty_one(answer: bytes) -> None:
    """The backend says OK: the data are taken, and more is not asked."""
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICES[Signal.METRICS], {METHOD: handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        found = send(f"localhost:{port}")
    finally:
        server.stop(None).wait()
    assert len(found) <= ANSWER_LIMIT
    assert rejected(found) == (0, "")


# --- TLS ------------------------------------------------------------------------------------------------------------


def test_tls_needs_an_authority_that_is_trusted_and_shows_a_certificate_where_it_is_asked(tmp_path: Path) -> None:
    known = certify(tmp_path)
    key, cert = Path(known.key_file).read_bytes(), Path(known.cert_file).read_bytes()
    with grpc_backend(credentials=grpc.ssl_server_credentials([(key, cert)], cert, require_client_auth=True)) as kept:
        send(kept.endpoint, encode(gauge([1])), known)
        for tls in (TlsConfig(), INSECURE, replace(known, cert_file="", key_file="")):
            with pytest.raises(RetryableError, match=kept.endpoint):
                send(kept.endpoint, encode(gauge([2])), tls)
    assert kept.taken == [gauge([1])]


def test_certificates_that_cannot_be_read_or_are_none_are_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "odd.crt").write_text("no certificate")
    for name in ("missing.crt", "odd.crt"):
        with pytest.raises(EdgesyncError, match=rf"tls: .*{name}"):
            send(f"localhost:{free_port()}", tls=TlsConfig(str(tmp_path / name)))
