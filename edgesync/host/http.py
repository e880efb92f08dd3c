"""A small HTTP server: GET, and POST where somebody takes it; one request a connection, everything bounded.

The standard library's server brings threads and email's parsers, 3 MiB that a board has not got.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from edgesync.host.files import storage_errors
from edgesync.wire.errors import ConfigError, NotReachableError

HEAD_LIMIT = 8 * 1024
"""Bytes of a request, without its body."""
CLIENTS = 16
"""Connections at once; more are closed at once."""
TIME_LIMIT = 10.0
"""Seconds from the connection to the end of the request, and for the answer's way back."""
TAKE_LIMIT = 30.0
"""Seconds that whoever takes a POST may work on it."""
LINGER = 2.0
"""Seconds that a client may go on sending a body that was refused."""
PIECE = 64 * 1024
"""Bytes of an answer that wait for a client at once."""
QUERY_FIELDS = 32
TRAILERS = 32

_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host` and `port` (0: the system picks one), or the `path` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Post:
    """`headers` with names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Handler = Callable[[str, Mapping[str, str]], Answer]
"""Gets path and query of a GET."""
Taker = Callable[[Post], Awaitable[Answer]]


def parse_endpoint(text: str) -> Endpoint:
    """`localhost:13133`, `[::1]:13133`, `:13133` (every address), `unix:///run/health.sock`. Raises ConfigError."""
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not 0 < len(os.fsencode(path)) <= 107:
            raise ConfigError(f"endpoint: found {text[:80]!r}, expected a path of 1 to 107 bytes")
        return Endpoint(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"endpoint: found {text[:80]!r}, expected host:port or unix:///path")
    return Endpoint(host.strip("[]"), int(port))


class HttpServer:
    """Answers at `endpoint` from `start` to `close`. `port` is the one that is really listened on. `taker` gets each
    POST with a body of at most `body_limit` bytes; without one there is only GET.
    """

    def __init__(
        self, endpoint: Endpoint, handler: Handler, taker: Taker | None = None, *, body_limit: int = 0
    ) -> None:
        self._endpoint, self._handler = endpoint, handler
        self._taker, self._body_limit = taker, body_limit
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self.port = endpoint.port

    async def start(self) -> None:
        """Raises NotReachableError where the address is taken or is not this machine's."""
        endpoint = self._endpoint
        try:
            if endpoint.path:
                with storage_errors(endpoint.path):
                    _remove_socket(endpoint.path)
                self._server = await asyncio.start_unix_server(self._accept, endpoint.path, limit=HEAD_LIMIT)
            else:
                host = endpoint.host or None
                self._server = await asyncio.start_server(self._accept, host, endpoint.port, limit=HEAD_LIMIT)
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            where = endpoint.path or f"{endpoint.host}:{endpoint.port}"
            raise NotReachableError(f"cannot listen on {where}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Also without a start, and a second time."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await server.wait_closed()
        if self._endpoint.path:
            _remove_socket(self._endpoint.path)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= CLIENTS:
            writer.close()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await asyncio.wait_for(self._answer(reader), TIME_LIMIT)
            if isinstance(answer, Post):
                answer = await self._take(answer)
            writer.write(_head(answer))
            await asyncio.wait_for(_send(writer, answer.body), TIME_LIMIT)
            if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                writer.write_eof()
                await asyncio.wait_for(_read_away(reader), LINGER)
        except (OSError, EOFError, asyncio.TimeoutError):
            pass  # the client went away, or says nothing
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | Post:
        """The answer, or what `taker` shall answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        first, *lines = head.split(b"\r\n")
        words = first.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _refusal(HTTPStatus.BAD_REQUEST)
        post = words[0] == b"POST" and self._taker is not None
        if not post and words[0] not in (b"GET", b"HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            url = urlsplit(words[1].decode("ascii"))
            if post:
                headers = dict(map(_header, filter(None, lines)))
                return Post(url.path, headers, await _body(reader, headers, self._body_limit))
            query = dict(parse_qsl(url.query, keep_blank_values=True, max_num_fields=QUERY_FIELDS))
        except _RefusedError as refused:
            return _refusal(refused.status)
        except (ValueError, asyncio.LimitOverrunError):
            return _refusal(HTTPStatus.BAD_REQUEST)
        answer = self._handler(url.path, query)
        if words[0] == b"HEAD":
            return Answer(b"", answer.status, answer.content_type, answer.headers)
        return answer

    async def _take(self, post: Post) -> Answer:
        assert self._taker is not None
        try:
            return await asyncio.wait_for(self._taker(post), TAKE_LIMIT)
        except asyncio.TimeoutError:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE)


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Piece by piece: a large body that many clients get is in memory once, not once for each."""
    for at in range(0, len(body), PIECE):
        writer.write(body[at : at + PIECE])
        await writer.drain()
    await writer.drain()


async def _read_away(reader: asyncio.StreamReader) -> None:
    """A connection that is closed while the client still sends is reset, and the client never sees why."""
    while await reader.read(HEAD_LIMIT):
        pass


class _RefusedError(Exception):
    """A body that is not read."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.decode("latin-1").partition(":")
    if not colon or not name or name != name.strip():
        raise ValueError("no header")
    return name.lower(), value.strip()


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], limit: int) -> bytes:
    """Raises _RefusedError before more than `limit` bytes are read, ValueError, EOFError, LimitOverrunError."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader, limit)
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise _RefusedError(HTTPStatus.LENGTH_REQUIRED)
    if len(length) > 12 or int(length) > limit:
        raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    """What senders use that compress while they send."""
    body = bytearray()
    while True:
        text = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
        if not _SIZE.fullmatch(text):
            raise ValueError("no size of a chunk")
        if len(body) + int(text, 16) > limit:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if int(text, 16) == 0:
            break
        body += await reader.readexactly(int(text, 16))
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end")
    for _ in range(TRAILERS):
        if await reader.readuntil(b"\r\n") == b"\r\n":
            return bytes(body)
    raise ValueError("too many trailers")


def not_found() -> Answer:
    return _refusal(HTTPStatus.NOT_FOUND)


def _refusal(status: HTTPStatus) -> Answer:
    return Answer(f"{status.phrase}\n".encode(), status.value, "text/plain")


def _head(answer: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _remove_socket(path: str) -> None:
    """What an earlier process left behind."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
