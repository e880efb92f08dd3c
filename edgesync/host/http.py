"""A small HTTP server for local questions: GET only, one request a connection, everything bounded.

The standard library's server brings threads and email's parsers, 3 MiB that a board has not got.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from edgesync.host.files import storage_errors
from edgesync.wire.errors import ConfigError, NotReachableError

HEAD_LIMIT = 8 * 1024
"""Bytes of a request."""
CLIENTS = 16
"""Connections at once; more are closed at once."""
TIME_LIMIT = 10.0
"""Seconds from the connection to the end of the answer."""
QUERY_FIELDS = 32


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


Handler = Callable[[str, Mapping[str, str]], Answer]
"""Gets path and query of a GET."""


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
    """Answers at `endpoint` from `start` to `close`. `port` is the one that is really listened on."""

    def __init__(self, endpoint: Endpoint, handler: Handler) -> None:
        self._endpoint, self._handler = endpoint, handler
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
            writer.write(_head(answer) + answer.body)
            await asyncio.wait_for(writer.drain(), TIME_LIMIT)
        except (OSError, EOFError, asyncio.TimeoutError):
            pass  # the client went away, or says nothing
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _refusal(HTTPStatus.BAD_REQUEST)
        if words[0] not in (b"GET", b"HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            url = urlsplit(words[1].decode("ascii"))
            query = dict(parse_qsl(url.query, keep_blank_values=True, max_num_fields=QUERY_FIELDS))
        except ValueError:
            return _refusal(HTTPStatus.BAD_REQUEST)
        answer = self._handler(url.path, query)
        if words[0] == b"HEAD":
            return Answer(b"", answer.status, answer.content_type, answer.headers)
        return answer


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
