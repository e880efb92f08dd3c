"""The otlphttp exporter: its configuration, and what is HTTP's own. What it shares with otlp: test_otlp_sending.py."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from certificates import certify
from telemetry_parts import gauge

from collector_ext.consumererror import RetryableError
from collector_ext.exporter.otlphttp import client
from collector_ext.exporter.otlphttp.config import OtlpHttpConfig
from collector_ext.exporter.otlphttp.factory import FACTORY, NEWER
from collector_ext.ids import Signal
from collector_ext.otlp.backend import TlsConfig
from collector_ext.otlp.decode import decode
from collector_ext.otlp.encode import encode
from collector_ext.registry import EntryPoints
from collector_ext.settings.bind import Secret
from collector_ext.settings.durations import Duration
from collector_ext.testing.contract import check_factory, check_life, check_registered, refusal
from edgesync.wire.errors import NotReachableError
from tests.otlp_endpoint import backend


def test_it_keeps_the_contract_and_has_the_newer_name_too() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    check_registered(NEWER, EntryPoints())
    asyncio.run(check_life(FACTORY, OtlpHttpConfig("http://localhost:4318")))


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


def post(url: str, compression: Any = "gzip") -> bytes:
    config = OtlpHttpConfig(url, compression=compression)
    return asyncio.run(client.connect(config).send(Signal.METRICS, encode(gauge([1]))))


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_request_is_gzip_or_not_as_configured(compression: str) -> None:
    with backend() as kept:
        assert post(f"{kept.url}/", compression) == b""
    assert kept.taken == [decode(Signal.METRICS, encode(gauge([1])))]
    assert kept.heads[0].get("Content-Encoding", "none") == compression


@pytest.mark.parametrize("status", client.RETRYABLE)
def test_statuses_of_the_specification_may_be_tried_again(status: int) -> None:
    with backend() as kept:
        kept.answers.append((status, {}, b""))
        with pytest.raises(RetryableError, match=f" answers {int(status)} "):
            post(kept.url)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 2", b"\x00\xff\r\n\r\n", b""])
def test_an_answer_that_is_cut_off_or_no_http_is_as_good_as_none(answer: bytes) -> None:
    async def whole() -> None:
        async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
            config = OtlpHttpConfig(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(RetryableError, match=config.endpoint):
                await client.connect(config).send(Signal.METRICS, b"")

    asyncio.run(whole())


def delay(headers: Mapping[str, str], status: int = 503) -> float:
    """Seconds that a backend's answer is understood to ask for."""
    with backend() as kept:
        kept.answers.append((status, headers, b""))
        with pytest.raises(RetryableError) as told:
            post(kept.url)
    return told.value.delay


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("99999999999", 3600),
        (formatdate(0, usegmt=True), 0),
        ("soon", 0),
        ("", 0),
        ("-5", 0),
    ],
)
def test_a_backend_may_ask_for_a_pause_in_seconds_or_by_a_date(text: str, seconds: float) -> None:
    assert delay({"Retry-After": text}) == seconds


def test_a_date_is_a_pause_from_now() -> None:
    assert 0 < delay({"Retry-After": formatdate(time.time() + 1000, usegmt=True)}, 429) <= 1001


def serves(tls: TlsConfig) -> ssl.SSLContext:
    """The other side, which asks for a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def test_tls_shows_a_certificate_and_trusts_the_authority_that_is_named(tmp_path: Path) -> None:
    tls = certify(tmp_path)
    with backend(tls=serves(tls)) as kept:
        config = OtlpHttpConfig(kept.url, tls=tls)
        assert asyncio.run(client.connect(config).send(Signal.METRICS, encode(gauge([1])))) == b""
        with pytest.raises(RetryableError, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(client.connect(replace(config, tls=TlsConfig())).send(Signal.METRICS, b""))
    assert kept.taken == [gauge([1])]


def test_a_backend_that_says_nothing_over_tls_is_cut_off_too(tmp_path: Path) -> None:
    tls = certify(tmp_path)

    async def whole() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                pass
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", 0, ssl=serves(tls)) as server:
            url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
            config = OtlpHttpConfig(url, timeout=Duration(0.5), tls=tls)
            with pytest.raises(RetryableError, match=f"{url}: no answer within 0.5 s"):
                await client.connect(config).send(Signal.METRICS, b"")

    asyncio.run(whole())


def test_certificates_that_cannot_be_read_are_named_at_the_start(tmp_path: Path) -> None:
    config = OtlpHttpConfig("https://localhost:4318", tls=TlsConfig(ca_file=str(tmp_path / "ca.crt")))
    with pytest.raises(NotReachableError, match=r"tls: .*ca\.crt"):
        client.connect(config)
    client.connect(replace(config, endpoint="http://localhost:4318"))  # which needs none
