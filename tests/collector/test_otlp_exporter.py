"""The otlp exporter at a real HTTP endpoint: what the backend takes, puts off and refuses, and what comes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from telemetry_parts import gauge, log, span

from collector_ext.component import Settings
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlp import client
from collector_ext.exporter.otlp.config import OtlpExporterConfig, QueueConfig, RetryConfig, TlsConfig
from collector_ext.exporter.otlp.exporter import OtlpExporter
from collector_ext.exporter.otlp.factory import FACTORY
from collector_ext.otlp.response import rejected
from collector_ext.registry import EntryPoints
from collector_ext.selfmetrics import QUEUE_BYTES, QUEUE_DROPPED, Meter
from collector_ext.settings.bind import Secret
from collector_ext.settings.durations import Duration
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_life, check_registered, refusal
from collector_ext.testing.doubles import Host, settings
from edgesync.sim.broker import free_port
from edgesync.wire.errors import NotReachableError
from tests.otlp_endpoint import backend

QUICK = RetryConfig(Duration(0.01), Duration(0.02), Duration(20.0))
WAITING = OtlpExporterConfig(sending_queue=QueueConfig(enabled=False), retry_on_failure=QUICK)
QUEUED = OtlpExporterConfig(retry_on_failure=QUICK)


def test_it_keeps_the_contract() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    asyncio.run(check_life(FACTORY, OtlpExporterConfig("http://localhost:4318")))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "endpoint: found ''"),
        ({"endpoint": "localhost:4318"}, "endpoint: found 'localhost:4318', expected a URL"),
        ({"endpoint": "http://a", "timeout": Duration(0.0)}, "timeout: found 0s"),
        ({"endpoint": "http://a", "headers": {"a b": Secret("c")}}, "headers: found 'a b'"),
        ({"endpoint": "http://a", "headers": {"a": Secret("c\r\nb: d")}}, "headers: found 'a'"),
    ],
)
def test_a_config_that_cannot_be_says_which_key(changes: dict[str, Any], says: str) -> None:
    assert refusal(FACTORY, **changes).startswith(says)
    with pytest.raises(Exception, match="cert_file, key_file"):
        TlsConfig(cert_file="a").validate()


def run(
    url: str,
    config: OtlpExporterConfig,
    scenario: Callable[[OtlpExporter], Awaitable[None]],
    made: Settings | None = None,
) -> Host:
    host = Host()

    async def whole() -> None:
        exporter = OtlpExporter(made or settings("otlp"), replace(config, endpoint=url))
        await exporter.start(host)
        try:
            await scenario(exporter)
        finally:
            await exporter.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 60))
    return host


def errors(host: Host) -> list[str]:
    return [str(event.error) for event in host.events if event.status is Status.RECOVERABLE_ERROR]


@pytest.mark.parametrize("config", [WAITING, QUEUED, replace(QUEUED, compression="none")])
def test_all_signals_arrive_as_they_were_with_the_headers_that_were_asked_for(config: OtlpExporterConfig) -> None:
    several = [gauge([1.5]), span("fetching"), log("out of memory")]

    async def scenario(exporter: OtlpExporter) -> None:
        await asyncio.gather(*map(exporter.consume, several))

    with backend() as kept:
        run(f"{kept.url}/", replace(config, headers={"X-Token": Secret("abc")}), scenario)
    assert sorted(map(repr, kept.taken)) == sorted(map(repr, several))
    assert {head["X-Token"] for head in kept.heads} == {"abc"}
    assert {head.get("Content-Encoding", "none") for head in kept.heads} == {config.compression}


@pytest.mark.parametrize("status", client.RETRYABLE)
def test_what_a_backend_puts_off_is_sent_again_and_is_a_status_meanwhile(status: int) -> None:
    with backend() as kept:
        kept.answers += [(status, {}, b"")] * 2
        host = run(kept.url, WAITING, lambda exporter: exporter.consume(gauge([1])))
    assert kept.taken == [gauge([1])]
    assert len(kept.heads) == 3
    assert [text.partition(" answers ")[2][:3] for text in errors(host)] == [str(int(status))]
    assert host.events[-1].status is Status.OK


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 302])
def test_what_a_backend_refuses_is_dropped_and_counted_and_the_next_batch_goes(status: int) -> None:
    async def alone(exporter: OtlpExporter) -> None:
        with pytest.raises(PermanentError, match=str(status)):
            await exporter.consume(gauge([1]))
        await exporter.consume(gauge([2]))

    async def queued(exporter: OtlpExporter) -> None:
        await exporter.consume(gauge([1]))
        await exporter._queue.join()
        await exporter.consume(gauge([2]))

    for config, scenario, dropped in ((WAITING, alone, 0), (QUEUED, queued, 1)):
        meter = Meter()
        with backend() as kept:
            kept.answers.append((status, {}, b""))
            run(kept.url, config, scenario, settings("otlp", meter))
        assert kept.taken == [gauge([2])]
        assert (meter.total(QUEUE_DROPPED), meter.total(QUEUE_BYTES)) == (dropped, 0)


def test_a_backend_that_comes_later_gets_everything_that_waited() -> None:
    port = free_port()

    async def scenario(exporter: OtlpExporter) -> None:
        for n in range(9):
            await exporter.consume(gauge([n]))
        await asyncio.sleep(0.1)
        with backend(port) as kept:
            await exporter._queue.join()
        assert sorted(map(repr, kept.taken)) == [repr(gauge([n])) for n in range(9)]

    host = run(f"http://127.0.0.1:{port}", QUEUED, scenario)
    assert len(errors(host)) == 1
    assert "refused" in errors(host)[0]


def test_a_backend_that_stays_away_costs_a_bounded_queue_and_then_the_data() -> None:
    meter, given = Meter(), RetryConfig(Duration(0.01), Duration(0.01), Duration(0.1))
    large = log("x" * 600_000)

    async def scenario(exporter: OtlpExporter) -> None:
        await exporter.consume(large)
        with pytest.raises(RetryableError, match="bytes wait"):
            await exporter.consume(large)
        await exporter._queue.join()
        assert meter.total(QUEUE_DROPPED) == 1
        await exporter.consume(log("small"))

    config = OtlpExporterConfig(sending_queue=QueueConfig(size_mib=1), retry_on_failure=given)
    run(f"http://127.0.0.1:{free_port()}", config, scenario, settings("otlp", meter))
    with pytest.raises(RetryableError, match="refused"):
        run(
            f"http://127.0.0.1:{free_port()}",
            replace(config, sending_queue=QueueConfig(enabled=False)),
            lambda exporter: exporter.consume(large),
        )


def test_whoever_waits_when_it_ends_is_told_and_what_is_queued_is_counted() -> None:
    meter = Meter()
    slow = RetryConfig(Duration(60.0), Duration(60.0), Duration(600.0))
    url = f"http://127.0.0.1:{free_port()}"

    async def waiting(exporter: OtlpExporter) -> None:
        several = [asyncio.ensure_future(exporter.consume(gauge([n]))) for n in range(6)]
        await asyncio.sleep(0.1)
        await exporter.shutdown()
        told = await asyncio.gather(*several, return_exceptions=True)
        assert all(isinstance(error, RetryableError) for error in told)

    async def queued(exporter: OtlpExporter) -> None:
        for n in range(6):
            await exporter.consume(gauge([n]))

    run(url, replace(WAITING, retry_on_failure=slow), waiting)
    run(url, replace(QUEUED, retry_on_failure=slow), queued, settings("otlp", meter))
    assert (meter.total(QUEUE_DROPPED), meter.total(QUEUE_BYTES)) == (6, 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 2", b"\x00\xff\r\n\r\n", b""])
def test_an_answer_that_is_cut_off_or_no_http_is_as_good_as_none(answer: bytes) -> None:
    async def whole() -> None:
        async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
            config = OtlpExporterConfig(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(RetryableError, match=config.endpoint):
                await asyncio.to_thread(client.Client(config, None).post, "metrics", b"")

    asyncio.run(whole())


def test_what_a_backend_took_in_part_is_logged_with_its_words(caplog: pytest.LogCaptureFixture) -> None:
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points, answer.partial_success.error_message = 3, "too\nold"
    with backend() as kept:
        kept.answers.append((200, {}, answer.SerializeToString()))
        run(kept.url, WAITING, lambda exporter: exporter.consume(gauge([1])))
    assert "took all metrics but 3: too?old" in caplog.text


@given(st.binary(max_size=60))
def test_any_answer_says_what_was_rejected_or_nothing(body: bytes) -> None:
    count, text = rejected(body)
    assert count >= 0
    assert text.isprintable()


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("7", 7, 7),
        ("99999999999", 3600, 3600),
        (formatdate(0, usegmt=True), 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
        ("-5", 0, 0),
    ],
)
def test_a_backend_may_ask_for_a_pause_in_seconds_or_by_a_date(text: str, least: float, most: float) -> None:
    with backend() as kept:
        kept.answers.append((503, {"Retry-After": text}, b""))
        with pytest.raises(RetryableError) as told:
            client.Client(OtlpExporterConfig(kept.url), None).post("logs", b"")
    assert least <= told.value.delay <= most


def test_a_date_is_a_pause_from_now() -> None:
    with backend() as kept:
        kept.answers.append((429, {"Retry-After": formatdate(time.time() + 1000, usegmt=True)}, b""))
        with pytest.raises(RetryableError) as told:
            client.Client(OtlpExporterConfig(kept.url), None).post("logs", b"")
    assert 0 < told.value.delay <= 1001


def test_certificates_that_cannot_be_read_are_named_at_the_start(tmp_path: Path) -> None:
    config = replace(WAITING, tls=TlsConfig(ca_file=str(tmp_path / "ca.crt")))

    async def never(_exporter: OtlpExporter) -> None: ...

    with pytest.raises(NotReachableError, match=r"tls: .*ca\.crt"):
        run("https://localhost:4318", config, never)


def test_a_backend_that_refuses_everything_is_told_once() -> None:
    async def scenario(exporter: OtlpExporter) -> None:
        for n in range(20):
            await exporter.consume(gauge([n]))

    with backend() as kept:
        kept.always = 400
        host = run(kept.url, QUEUED, scenario)
    assert len(kept.heads) == 20
    assert len(errors(host)) == 1
