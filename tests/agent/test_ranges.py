"""HTTP as the last resort: ranges from a real server, and from servers that lie, hang and break off."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent import ranges
from edgesync.host import tcp
from edgesync.wire.errors import BlobMissingError, EdgesyncError, LinkError
from edgesync.wire.ids import BlobId

BLOB = BlobId("ab" * 16)
DATA = random.Random(1).randbytes(50_000)


def ignored(_: int) -> None:
    """What a read costs is not what most of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.answer(self)

    def log_message(self, *_: object) -> None:
        """The test's output is not an access log."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Handler], object]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


@contextmanager
def serving(answer: Callable[[Handler], object]) -> Iterator[tuple[Server, str]]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}/blobs/"
        finally:
            server.shutdown()
            thread.join(5)


def send(handler: Handler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def ordinary(handler: Handler) -> None:
    """What any static server does."""
    wanted = handler.headers.get("Range")
    if wanted is None:
        send(handler, 200, DATA)
        return
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    send(handler, 206, DATA[int(first) : int(last) + 1])


def read(url: str, start: int = 100, length: int = 1000) -> bytes:
    return asyncio.run(ranges.read(url, BLOB, start, length, count=ignored))


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, len(DATA)), (len(DATA) - 1, 1), (16384, 16384)])
def test_a_range_is_the_bytes_that_were_asked_for(start: int, length: int) -> None:
    with serving(ordinary) as (server, url):
        assert read(url, start, length) == DATA[start : start + length]
        assert server.asked == [(f"/blobs/{BLOB}", f"bytes={start}-{start + length - 1}")]


def test_an_index_is_read_whole_and_up_to_its_limit() -> None:
    with serving(ordinary) as (server, url):
        assert asyncio.run(ranges.read_index(url, BLOB, len(DATA), count=ignored)) == DATA
        assert server.asked == [(f"/blobs/{BLOB}.index", None)]
        with pytest.raises(LinkError, match=str(len(DATA) - 1)):
            asyncio.run(ranges.read_index(url, BLOB, len(DATA) - 1, count=ignored))


@pytest.mark.parametrize("status", [200, 204, 301, 302, 400, 403, 404, 416, 500, 503])
def test_a_server_that_does_not_give_the_range_has_not_got_it(status: int) -> None:
    def answer(handler: Handler) -> None:
        send(handler, status, DATA if status == 200 else b"", Location="http://127.0.0.1:1/elsewhere")

    with serving(answer) as (_, url), pytest.raises(BlobMissingError, match=str(status)):
        read(url)


def test_a_server_that_sends_everything_is_refused_before_it_is_read() -> None:
    sent: list[int] = []

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        for _ in range(1 << 10):
            handler.wfile.write(bytes(1 << 20))
            sent.append(1 << 20)

    with serving(answer) as (_, url), pytest.raises(BlobMissingError):
        read(url)
    assert sum(sent) < 64 << 20


def short(handler: Handler) -> None:
    send(handler, 206, DATA[:999])


def long(handler: Handler) -> None:
    send(handler, 206, DATA[:1001])


def endless(handler: Handler) -> None:
    handler.send_response(206)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def cut_off(handler: Handler) -> None:
    send(handler, 206, DATA[:500], Content_Length="1000")


def reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"\x15\x03\x03\x00\x02\x02\x50" * 100)


def endless_line(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 206 " + b"x" * (1 << 20))


def endless_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 206 OK\r\n" + b"a: b\r\n" * 10_000)


def wrong_length(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 206 OK\r\nContent-Length: -5\r\n\r\n")


def broken_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx")


def says_nothing(handler: Handler) -> None:
    pass


LIES = [short, long, endless, cut_off, reset, no_http, endless_line, endless_headers, wrong_length, broken_chunks]


@pytest.mark.parametrize("answer", [*LIES, says_nothing])
def test_a_server_that_lies_or_breaks_off_is_a_link_error_that_names_the_url(
    answer: Callable[[Handler], object],
) -> None:
    with serving(answer) as (_, url), pytest.raises(LinkError, match=BLOB):
        read(url)


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "TIMEOUT", 0.2)
    done = threading.Event()
    with serving(lambda _: done.wait(10)) as (_, url):
        began = time.monotonic()
        with pytest.raises(LinkError, match="timed out"):
            read(url)
        assert time.monotonic() - began < 5
        done.set()


def drips_body(handler: Handler, stop: threading.Event) -> None:
    send(handler, 206, b"", Content_Length="1000")
    while not stop.wait(0.02):
        handler.wfile.write(b"x")


def drips_headers(handler: Handler, stop: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 206 OK\r\n")
    while not stop.wait(0.02):
        handler.wfile.write(b"a")


@pytest.mark.parametrize("drip", [drips_body, drips_headers])
def test_a_server_that_drips_is_given_up_and_leaves_no_thread_behind(
    monkeypatch: pytest.MonkeyPatch, drip: Callable[[Handler, threading.Event], None]
) -> None:
    monkeypatch.setattr(ranges, "READ_LIMIT", 0.3)
    stop = threading.Event()

    def reading() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "blocking"]

    with serving(lambda handler: drip(handler, stop)) as (_, url):
        with pytest.raises(LinkError, match="not read within"):
            read(url)
        end = time.monotonic() + 3
        while reading() and time.monotonic() < end:
            time.sleep(0.01)
        left = reading()
        stop.set()
        assert not left


def test_a_read_that_is_cancelled_ends_its_thread_too() -> None:
    done = threading.Event()

    async def scenario(url: str) -> None:
        task = asyncio.create_task(ranges.read(url, BLOB, 0, 10, count=ignored))
        await asyncio.to_thread(arrived.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        end = time.monotonic() + 3
        while any(thread.name == "blocking" for thread in threading.enumerate()):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    def hang(_: Handler) -> None:
        arrived.set()
        done.wait(10)

    arrived = threading.Event()
    with serving(hang) as (_, url):
        asyncio.run(scenario(url))
        done.set()


def test_a_port_where_nobody_listens_is_a_link_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(LinkError, match="refused"):
            read(f"http://127.0.0.1:{free.getsockname()[1]}/blobs")


@pytest.mark.parametrize(
    "url",
    ["", "blobs", "ftp://host/blobs", "file:///etc/passwd", "http://", "http:///blobs", "http://[::1", "http://h:x/"],
)
def test_what_is_no_http_address_has_not_got_the_blob(url: str) -> None:
    with pytest.raises(BlobMissingError, match="not an HTTP address"):
        read(url)


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:1/ü", "http://127.0.0.1:99999/x", "http://" + "a" * 70 + ".invalid/", "http://a..b/"]
)
def test_an_address_that_cannot_be_asked_is_a_named_error(path: str) -> None:
    with pytest.raises(EdgesyncError):
        read(path)


@given(st.text(max_size=30), st.sampled_from(["http://127.0.0.1:1/", "http://127.0.0.1:1", "https://127.0.0.1:1/"]))
def test_no_text_that_a_server_may_sign_as_a_url_is_more_than_a_named_error(text: str, before: str) -> None:
    """Nobody listens on port 1, and nothing is asked of any other host."""
    url = before + text
    with pytest.MonkeyPatch.context() as alone:
        alone.setattr(socket, "create_connection", nobody)
        with pytest.raises((LinkError, BlobMissingError)):
            ranges._get(url, 10, 0, [], [])


def nobody(*_: Any, **__: Any) -> socket.socket:
    raise ConnectionRefusedError(111, "Connection refused")


def test_what_a_read_costs_is_told_however_it_ends() -> None:
    told: list[int] = []

    def cost(url: str) -> int:
        with contextlib.suppress(EdgesyncError):
            asyncio.run(ranges.read(url, BLOB, 0, len(DATA), count=told.append))
        return told[-1]

    with serving(ordinary) as (_, url):
        assert len(DATA) + 500 < cost(url) < 1.1 * len(DATA)
    with serving(short) as (_, url):
        assert 1500 < cost(url) < 2500
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert cost(f"http://127.0.0.1:{free.getsockname()[1]}/blobs") == tcp.REFUSED
    assert len(told) == 3


def test_what_a_read_that_is_cancelled_has_cost_is_told_as_well() -> None:
    told: list[int] = []
    arrived, done = threading.Event(), threading.Event()

    def hang(_: Handler) -> None:
        arrived.set()
        done.wait(10)

    async def scenario(url: str) -> None:
        task = asyncio.create_task(ranges.read(url, BLOB, 0, 10, count=told.append))
        await asyncio.to_thread(arrived.wait, 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with serving(hang) as (_, url):
        asyncio.run(scenario(url))
        done.set()
    assert [250 < size < 1000 for size in told] == [True]
