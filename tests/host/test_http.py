"""The small HTTP server: what it answers, and that no client can hurt it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.host import http
from edgesync.host.http import Answer, Endpoint, HttpServer, Post, not_found, parse_endpoint
from edgesync.wire.errors import ConfigError, NotReachableError

HERE = Endpoint("127.0.0.1", 0)


def handler(path: str, query: Mapping[str, str]) -> Answer:
    if path != "/here":
        return not_found()
    return Answer(f"{dict(sorted(query.items()))}".encode(), content_type="text/plain", headers={"ETag": "x"})


async def ask(server: HttpServer, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def answers(*requests: bytes) -> list[bytes]:
    async def life() -> list[bytes]:
        server = HttpServer(HERE, handler)
        await server.start()
        try:
            return [await ask(server, request) for request in requests]
        finally:
            await server.close()
            await server.close()

    return asyncio.run(life())


def posted(*requests: bytes, limit: int = 10) -> list[bytes]:
    """What a server answers that gives back the bodies it takes."""

    async def taker(post: Post) -> Answer:
        if post.path == "/slow":
            await asyncio.sleep(60)
        return Answer(post.path.encode() + b" " + post.headers.get("x-y", "").encode() + b" " + post.body)

    async def life() -> list[bytes]:
        server = HttpServer(HERE, handler, taker, body_limit=limit)
        await server.start()
        try:
            return [await ask(server, request) for request in requests]
        finally:
            await server.close()

    return asyncio.run(life())


def post(body: bytes, *headers: str, target: str = "/here") -> bytes:
    return "\r\n".join([f"POST {target} HTTP/1.1", *headers, "", ""]).encode() + body


def get(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_a_get_is_answered_with_length_type_and_headers() -> None:
    head, _, body = answers(get("/here?a=1&b=%20x&verbose"))[0].partition(b"\r\n\r\n")
    assert body == b"{'a': '1', 'b': ' x', 'verbose': ''}"
    assert head.splitlines() == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain",
        b"Content-Length: 36",
        b"ETag: x",
        b"Connection: close",
    ]


def test_a_head_has_no_body() -> None:
    assert answers(get("/here", "HEAD"))[0].endswith(b"Connection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/there"), b"404 Not Found"),
        (get("/here", "POST"), b"405 Method Not Allowed"),
        (b"GET /here\r\n\r\n", b"400 Bad Request"),
        (b"GET /here SMTP/1.1\r\n\r\n", b"400 Bad Request"),
        (get("/h\u00e9re"), b"400 Bad Request"),
        (get("/here?" + "&".join(f"a{at}" for at in range(40))), b"400 Bad Request"),
        (b"GET /here HTTP/1.1\r\nX: " + b"x" * http.HEAD_LIMIT * 2 + b"\r\n\r\n", b"431 Request Header Fields Too"),
    ],
)
def test_what_is_no_get_that_it_knows_is_refused(request_: bytes, status: bytes) -> None:
    assert answers(request_)[0].startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "request_",
    [
        post(b"0123456789", "Content-Length: 10", "X-Y: a: b "),
        post(b"4\r\n0123\r\n006;x=y\r\n456789\r\n0\r\nT: x\r\n\r\n", "Transfer-Encoding: Chunked", "x-y:a: b"),
    ],
)
def test_a_post_is_taken_with_its_headers_and_body_whole_or_in_chunks(request_: bytes) -> None:
    head, _, body = posted(request_)[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b"/here a: b 0123456789"


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(b"", "Content-Length: 11"), b"413 "),  # before a byte of it is read
        (post(b"", "Content-Length: 99999999999999999999"), b"413 "),
        (post(b"6\r\n012345\r\n5\r\n", CHUNKED), b"413 "),
        (post(b""), b"411 "),
        (post(b"", "Content-Length: -1"), b"411 "),
        (post(b"", "Content-Length : 1"), b"400 "),
        (post(b"", "no header"), b"400 "),
        (post(b"-1\r\n", CHUNKED), b"400 "),
        (post(b"1\r\nabc", CHUNKED), b"400 "),
        (post(b"0" * http.HEAD_LIMIT * 2, CHUNKED), b"400 "),
        (post(b"0\r\n" + b"a: b\r\n" * 99, CHUNKED), b"400 "),
    ],
)
def test_a_body_that_is_too_large_or_wrong_is_refused(request_: bytes, status: bytes) -> None:
    assert posted(request_)[0].startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "request_", [post(b"abc", "Content-Length: 4"), post(b"4\r\nab", CHUNKED), post(b"4", CHUNKED)]
)
def test_a_body_that_is_cut_off_is_not_taken(request_: bytes) -> None:
    assert posted(request_) == [b""]


def test_who_takes_a_post_for_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TAKE_LIMIT", 0.1)
    assert posted(post(b"", "Content-Length: 0", target="/slow"))[0].startswith(b"HTTP/1.1 503 ")


@settings(max_examples=20)
@given(st.binary(max_size=40), st.sampled_from([CHUNKED, "Content-Length: 9", ""]))
def test_whatever_body_comes_the_next_one_is_taken(body: bytes, header: str) -> None:
    whole = post(b"abc", "Content-Length: 3")
    assert posted(post(body, header) if header else body, whole)[-1].endswith(b"/here  abc")


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=64), max_size=5))
def test_it_answers_whatever_others_have_sent_before(garbage: list[bytes]) -> None:
    assert answers(*garbage, get("/here"))[-1].startswith(b"HTTP/1.1 200 OK")


def test_clients_that_say_nothing_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CLIENTS", 2)
    monkeypatch.setattr(http, "TIME_LIMIT", 0.2)

    async def life() -> bytes:
        server = HttpServer(HERE, handler)
        await server.start()
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        ends = [await asyncio.wait_for(reader.read(), 30) for reader, _ in silent]  # two time out, one is one too many
        answer = await ask(server, get("/here"))
        for _, writer in silent:
            writer.close()
        await server.close()
        return b"".join([*ends, answer])

    assert asyncio.run(life()).startswith(b"HTTP/1.1 200 OK")


def test_closing_ends_clients_that_are_still_there() -> None:
    async def life() -> bytes:
        server = HttpServer(HERE, handler)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.sleep(0)
        await asyncio.wait_for(server.close(), 30)
        left = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return left

    assert asyncio.run(life()) == b""


def test_a_unix_socket_replaces_what_an_earlier_process_left_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"

    async def life() -> bytes:
        with socket.socket(socket.AF_UNIX) as earlier:
            earlier.bind(str(path))
        server = HttpServer(Endpoint(path=str(path)), handler)
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(get("/here"))
        answer = await reader.read()
        writer.close()
        await server.close()
        return answer

    assert asyncio.run(life()).startswith(b"HTTP/1.1 200 OK")
    assert not path.exists()


def test_an_address_that_is_taken_is_a_named_error() -> None:
    async def life() -> None:
        server = HttpServer(HERE, handler)
        await server.start()
        try:
            await HttpServer(Endpoint("127.0.0.1", server.port), handler).start()
        finally:
            await server.close()

    with pytest.raises(NotReachableError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*in use"):
        asyncio.run(life())


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("localhost:13133", Endpoint("localhost", 13133)),
        (":0", Endpoint("", 0)),
        ("[::1]:80", Endpoint("::1", 80)),
        ("unix:///run/x.sock", Endpoint(path="/run/x.sock")),
    ],
)
def test_endpoints_are_read(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "x:65536", "x:-1", "x:٣", "unix://", "unix:///" + "x" * 107]
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="endpoint: found"):
        parse_endpoint(text)
