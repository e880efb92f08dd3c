"""The OTLP exporters at real endpoints, over HTTP and over gRPC: what becomes of data that a backend does not take."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from telemetry_parts import gauge, log, span

from collector_ext.component import ExporterFactory, Settings
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlp.config import OtlpConfig
from collector_ext.exporter.otlp.factory import FACTORY as GRPC_FACTORY
from collector_ext.exporter.otlphttp.config import OtlpHttpConfig
from collector_ext.exporter.otlphttp.factory import FACTORY as HTTP_FACTORY
from collector_ext.otlp import sending
from collector_ext.otlp.backend import QueueConfig, RetryConfig, TlsConfig
from collector_ext.otlp.response import failure
from collector_ext.otlp.sending import OtlpExporter
from collector_ext.selfmetrics import QUEUE_BYTES, QUEUE_DROPPED, Meter
from collector_ext.settings.bind import Secret
from collector_ext.settings.durations import Duration
from collector_ext.status import Status
from collector_ext.testing.doubles import Host, settings
from edgesync.sim.broker import free_port
from tests.grpc_endpoint import grpc_backend
from tests.otlp_endpoint import backend

QUICK = RetryConfig(True, Duration(0.01), Duration(0.02), Duration(100.0))
SLOW = RetryConfig(True, Duration(60.0), Duration(60.0), Duration(600.0))
WAITING, QUEUED = QueueConfig(enabled=False), QueueConfig()


@dataclass(frozen=True)
class Way:
    """A protocol: its exporter, a backend that speaks it, and how that says later, never and in part. `backend` gives
    something with `taken`, `heads`, `answers` and `always`.
    """

    factory: ExporterFactory[Any]
    config: Any
    backend: Callable[..., AbstractContextManager[Any]]
    later: Any
    never: tuple[Any, ...]
    partly: Callable[[Any], Any]

    def at(self, port: int, queue: QueueConfig, retry: RetryConfig = QUICK, **changes: Any) -> Any:
        """The config for a backend of loopback's."""
        endpoint = f"http://127.0.0.1:{port}"
        return replace(self.config, endpoint=endpoint, sending_queue=queue, retry_on_failure=retry, **changes)


HTTP = Way(
    HTTP_FACTORY,
    OtlpHttpConfig(),
    backend,
    (503, {}, b""),
    ((400, {}, b""), (401, {}, b""), (404, {}, b""), (413, {}, b""), (500, {}, b""), (302, {}, b"")),
    lambda response: (200, {}, response.SerializeToString()),
)
GRPC = Way(
    GRPC_FACTORY,
    OtlpConfig(tls=TlsConfig(insecure=True)),
    grpc_backend,
    (grpc.StatusCode.UNAVAILABLE, b""),
    (
        (grpc.StatusCode.INVALID_ARGUMENT, b""),
        (grpc.StatusCode.UNAUTHENTICATED, b""),
        (grpc.StatusCode.UNIMPLEMENTED, b""),
        (grpc.StatusCode.INTERNAL, b""),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, failure("the quota is used up")),
    ),
    lambda response: response,
)
each_way = pytest.mark.parametrize("way", [HTTP, GRPC], ids=["http", "grpc"])


def port_of(kept: Any) -> int:
    return int((kept.endpoint if hasattr(kept, "endpoint") else kept.url).rpartition(":")[2])


def run(
    way: Way, config: Any, scenario: Callable[[OtlpExporter], Awaitable[None]], made: Settings | None = None
) -> Host:
    host = Host()

    async def whole() -> None:
        exporter = way.factory.create(made or settings(way.factory.type), config)
        assert isinstance(exporter, OtlpExporter)
        await exporter.start(host)
        try:
            await scenario(exporter)
        finally:
            await exporter.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 120))
    return host


def errors(host: Host) -> list[str]:
    return [str(event.error) for event in host.events if event.status is Status.RECOVERABLE_ERROR]


@each_way
@pytest.mark.parametrize("queue", [WAITING, QUEUED])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_all_signals_arrive_as_they_were_with_the_headers_that_were_asked_for(
    way: Way, queue: QueueConfig, compression: str
) -> None:
    several = [gauge([1.5] * 99), span("fetching"), log("out of memory")]

    async def scenario(exporter: OtlpExporter) -> None:
        await asyncio.gather(*map(exporter.consume, several))

    with way.backend() as kept:
        config = way.at(port_of(kept), queue, compression=compression, headers={"X-Token": Secret("abc")})
        run(way, config, scenario)
    assert sorted(map(repr, kept.taken)) == sorted(map(repr, several))
    heads = [{name.lower(): value for name, value in head.items()} for head in kept.heads]
    assert {head["x-token"] for head in heads} == {"abc"}
    assert all("edgesync-collector" in head["user-agent"] for head in heads)


@each_way
def test_what_a_backend_puts_off_is_sent_again_and_is_a_status_meanwhile(way: Way) -> None:
    with way.backend() as kept:
        kept.answers += [way.later] * 2
        host = run(way, way.at(port_of(kept), WAITING), lambda exporter: exporter.consume(gauge([1])))
    assert kept.taken == [gauge([1])]
    assert len(kept.heads) == 3
    assert len(errors(host)) == 1
    assert host.events[-1].status is Status.OK


@each_way
def test_what_a_backend_refuses_is_dropped_and_counted_and_the_next_batch_goes(way: Way) -> None:
    async def alone(exporter: OtlpExporter) -> None:
        for _ in way.never:
            with pytest.raises(PermanentError, match=r"127\.0\.0\.1"):
                await exporter.consume(gauge([1]))
        await exporter.consume(gauge([2]))

    async def queued(exporter: OtlpExporter) -> None:
        for _ in way.never:
            await exporter.consume(gauge([1]))
        await exporter._queue.join()
        await exporter.consume(gauge([2]))

    for queue, scenario, dropped in ((WAITING, alone, 0), (QUEUED, queued, len(way.never))):
        meter = Meter()
        with way.backend() as kept:
            kept.answers += way.never
            run(way, way.at(port_of(kept), queue), scenario, settings("otlp", meter))
        assert kept.taken == [gauge([2])]
        assert (meter.total(QUEUE_DROPPED), meter.total(QUEUE_BYTES)) == (dropped, 0)


@each_way
def test_a_backend_that_refuses_everything_is_told_once(way: Way) -> None:
    async def scenario(exporter: OtlpExporter) -> None:
        for n in range(20):
            await exporter.consume(gauge([n]))

    with way.backend() as kept:
        kept.always = way.never[0][0] if way is HTTP else way.never[0]
        host = run(way, way.at(port_of(kept), QUEUED), scenario)
    assert len(kept.heads) == 20
    assert len(errors(host)) == 1


@each_way
def test_a_backend_that_comes_goes_and_comes_again_gets_everything_that_waited(way: Way) -> None:
    port = free_port()

    async def scenario(exporter: OtlpExporter) -> None:
        for n in range(9):
            await exporter.consume(gauge([n]))
        await asyncio.sleep(0.1)
        with way.backend(port) as kept:
            await exporter._queue.join()
        assert sorted(map(repr, kept.taken)) == [repr(gauge([n])) for n in range(9)]
        for n in range(9):
            await exporter.consume(gauge([n]))
        await asyncio.sleep(0.1)
        with way.backend(port) as again:
            await exporter._queue.join()
        assert sorted(map(repr, again.taken)) == [repr(gauge([n])) for n in range(9)]

    host = run(way, way.at(port, QUEUED), scenario)
    assert "refused" in errors(host)[0]


@each_way
def test_a_backend_that_stays_away_costs_a_bounded_queue_and_then_the_data(way: Way) -> None:
    meter, given = Meter(), RetryConfig(True, Duration(0.01), Duration(0.01), Duration(0.1))
    large, port = log("x" * 600_000), free_port()

    async def scenario(exporter: OtlpExporter) -> None:
        await exporter.consume(large)
        with pytest.raises(RetryableError, match="bytes wait"):
            await exporter.consume(large)
        await exporter._queue.join()
        assert meter.total(QUEUE_DROPPED) == 1
        await exporter.consume(log("small"))

    run(way, way.at(port, QueueConfig(size_mib=1), given), scenario, settings("otlp", meter))
    with pytest.raises(RetryableError, match="refused"):
        run(way, way.at(port, WAITING, given), lambda exporter: exporter.consume(large))


@each_way
def test_data_are_never_given_up_with_0_and_after_one_try_where_retries_are_not_enabled(way: Way) -> None:
    endless = RetryConfig(True, Duration(0.01), Duration(0.01), Duration(0.0))
    with way.backend() as kept:
        kept.answers += [way.later] * 30
        run(way, way.at(port_of(kept), WAITING, endless), lambda exporter: exporter.consume(gauge([1])))
    assert len(kept.heads) == 31
    once = replace(endless, enabled=False)
    with way.backend() as kept:
        kept.answers += [way.later] * 30
        with pytest.raises(RetryableError):
            run(way, way.at(port_of(kept), WAITING, once), lambda exporter: exporter.consume(gauge([1])))
    assert len(kept.heads) == 1


@each_way
def test_whoever_waits_when_it_ends_is_told_and_what_is_queued_is_counted(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "STOP_LIMIT", 0.1)
    meter, port = Meter(), free_port()

    async def waiting(exporter: OtlpExporter) -> None:
        several = [asyncio.ensure_future(exporter.consume(gauge([n]))) for n in range(6)]
        await asyncio.sleep(0.1)
        await exporter.shutdown()
        told = await asyncio.gather(*several, return_exceptions=True)
        assert all(isinstance(error, RetryableError) for error in told)

    async def queued(exporter: OtlpExporter) -> None:
        for n in range(6):
            await exporter.consume(gauge([n]))

    run(way, way.at(port, WAITING, SLOW), waiting)
    run(way, way.at(port, QUEUED, SLOW), queued, settings("otlp", meter))
    assert (meter.total(QUEUE_DROPPED), meter.total(QUEUE_BYTES)) == (6, 0)


@contextlib.contextmanager
def played(play: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port at which each connection meets `play`, in a thread of its own, and is closed after it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                play(connection)

        def listen() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    connection.settimeout(10)
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        server.settimeout(0.05)
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def closes(connection: socket.socket) -> None:
    connection.recv(65536)


def closes_at_once(connection: socket.socket) -> None:
    pass


def speaks_something_else(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"\x00\xff 220 mail.example ready\r\n\r\n")


def never_finishes(connection: socket.socket) -> None:
    """No single read takes long."""
    connection.recv(65536)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        threading.Event().wait(0.05)


@each_way
@pytest.mark.parametrize(
    ("play", "timeout"),
    [(says_nothing, 0.3), (never_finishes, 0.3), (closes, 30), (closes_at_once, 30), (speaks_something_else, 30)],
)
def test_a_backend_that_gives_no_answer_is_a_named_error_and_the_data_stay(
    way: Way, play: Callable[[socket.socket], None], timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "STOP_LIMIT", 0.1)
    meter, told = Meter(), asyncio.Event()

    class Told(Host):
        def report_status(self, status: Status, error: Exception | None = None, attributes: Any = None) -> None:
            super().report_status(status, error, attributes)
            told.set()

    async def whole(port: int) -> Host:
        host = Told()
        exporter = way.factory.create(settings("otlp", meter), way.at(port, QUEUED, SLOW, timeout=Duration(timeout)))
        await exporter.start(host)
        try:
            await exporter.consume(gauge([1]))
            await told.wait()
            assert (meter.total(QUEUE_DROPPED), meter.total(QUEUE_BYTES) > 0) == (0, True)
        finally:
            await exporter.shutdown()
        return host

    with played(play) as port:
        host = asyncio.run(asyncio.wait_for(whole(port), 60))
    assert [type(event.error) for event in host.events if event.status.is_error] == [RetryableError]
    assert f"127.0.0.1:{port}" in errors(host)[0]


@each_way
def test_a_request_that_nobody_answers_is_cut_off_at_the_end(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "STOP_LIMIT", 0.1)
    meter, asked, ended = Meter(), threading.Event(), threading.Event()

    def asks(connection: socket.socket) -> None:
        while connection.recv(65536):
            asked.set()
        ended.set()

    async def scenario(exporter: OtlpExporter) -> None:
        await exporter.consume(gauge([1]))
        await asyncio.to_thread(asked.wait, 30)

    with played(asks) as port:
        run(way, way.at(port, QUEUED, SLOW, timeout=Duration(300.0)), scenario, settings("otlp", meter))
        # A connection that was never greeted, gRPC's core lets go by itself, within 20 s.
        assert way is GRPC or ended.wait(30)
    assert (meter.total(QUEUE_DROPPED), meter.total(QUEUE_BYTES)) == (1, 0)


@each_way
def test_what_a_backend_took_in_part_is_logged_with_its_words(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points, answer.partial_success.error_message = 3, "too\nold"
    with way.backend() as kept:
        kept.answers.append(way.partly(answer))
        run(way, way.at(port_of(kept), WAITING), lambda exporter: exporter.consume(gauge([1])))
    assert "took all metrics but 3: too?old" in caplog.text
