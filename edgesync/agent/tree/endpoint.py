"""Config for applications over a Unix socket: HTTP/1.1, read-only, one request a connection.

    GET /v1/config           {"config": "<digest>", "files": [{"path", "mode", "size"}, ...]}, "" and [] for none
    GET /v1/config/<path>    the bytes of one file
    GET /v1/config?watch     lines of JSON, chunked: {"config": "<digest>"} at once and at each switch, healing included

Each answer has the digest of its tree as ETag and is of one tree. A client that wants several files of one tree sends
`If-Match` with the digest that it was told, and gets 412 once another is in force; with `If-None-Match` it gets 304 as
long as it is the same.

Who is neither root nor the agent's own user gets only files that everyone may read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Iterable
from urllib.parse import unquote

from edgesync.agent.tree.bundles import CHUNK, Bundles
from edgesync.agent.tree.effects import Name
from edgesync.agent.tree.trees import Trees
from edgesync.wire.bundle import BUNDLE_LIMIT, path_problem
from edgesync.wire.errors import EdgesyncError

CLIENTS = 16
"""Connections at a time; one more is told to come back."""
HEAD_LIMIT = 4096
"""Bytes of a request, line and headers."""
PATIENCE = 10.0
"""Seconds that a client may take to say what it wants, or to take a part of its answer."""
PREFIX = "/v1/config"
_REASONS = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_CREDENTIALS = struct.Struct("3i")

log = logging.getLogger("edgesync.config")


class Endpoint:
    """Serves the tree in force on the socket `path`."""

    def __init__(self, path: str, trees: Trees, bundles: Bundles) -> None:
        self._path, self._trees, self._bundles = path, trees, bundles
        self._serving: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()

    def switched(self) -> None:
        """Another tree is in force: those who watch are told."""
        self._change.set()
        self._change = asyncio.Event()

    async def run(self) -> None:
        """Serve for ever; ends when it is cancelled. A socket that cannot be made costs a warning and nothing else."""
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            if os.path.lexists(self._path) and stat.S_ISSOCK(os.lstat(self._path).st_mode):
                os.unlink(self._path)  # of a life before
            server = await asyncio.start_unix_server(self._serve, self._path, limit=HEAD_LIMIT)
            os.chmod(self._path, 0o666)  # noqa: S103 - whoever may read all config may ask; `_file` says who may not
        except (OSError, ValueError) as error:
            log.warning("config is not served at %s: %s", self._path, error)
            return
        try:
            await server.serve_forever()
        finally:
            server.close()
            for client in self._serving:
                client.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if len(self._serving) > CLIENTS:
                await _say(writer, 503, f"more than {CLIENTS} clients; try again\n".encode())
            else:
                await self._answer(reader, writer)
        except (OSError, asyncio.TimeoutError):
            pass  # the client's affair
        except asyncio.CancelledError:
            pass  # by `run`, which ends; a cancelled task is an error to asyncio's streams
        except EdgesyncError as error:
            log.warning("config not served: %s: %s", error.name, error)
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await _say(writer, 500, f"{error.name}\n".encode())
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            method, target, headers = _parse(head)
        except asyncio.TimeoutError:
            return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            await _say(writer, 400, f"not a request of at most {HEAD_LIMIT} bytes\n".encode())
            return
        if method != "GET":
            await _say(writer, 405, b"config is read-only\n", ["Allow: GET"])
        elif target == f"{PREFIX}?watch":
            await self._watch(reader, writer)
        elif target == PREFIX:
            await self._list(writer, headers)
        elif target.startswith(f"{PREFIX}/"):
            await self._file(writer, headers, unquote(target[len(PREFIX) + 1 :]))
        else:
            await _say(writer, 404, f"not here; try {PREFIX}\n".encode())

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, ["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]))
        gone = asyncio.ensure_future(reader.read(1))  # it has nothing to say any more: this ends when it leaves
        told: str | None = None
        try:
            while not gone.done():
                change, tree = self._change, self._trees.in_force()
                if tree != told:
                    line = json.dumps({"config": self._trees.linked()}).encode() + b"\n"
                    writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                    await asyncio.wait_for(writer.drain(), PATIENCE)
                    told = tree
                waiting = asyncio.ensure_future(change.wait())
                await asyncio.wait((gone, waiting), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            gone.cancel()

    async def _list(self, writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        config, files = self._trees.linked(), []
        if await _is_settled(writer, headers, config):
            return
        if config:
            catalogue = self._bundles.catalogue(config)
            catalogue.close()
            files = [{"path": e.path, "mode": f"{e.mode:04o}", "size": e.length} for e in catalogue.entries]
        body = json.dumps({"config": config, "files": files}).encode() + b"\n"
        await _say(writer, 200, body, [_tag(config), "Content-Type: application/json"])

    async def _file(self, writer: asyncio.StreamWriter, headers: dict[str, str], path: str) -> None:
        config, fd = self._trees.open_file(path) if not path_problem(path) else ("", -1)
        try:
            if await _is_settled(writer, headers, config):
                return
            if fd < 0:
                await _say(writer, 404, b"no such file in the config\n")
                return
            status = os.fstat(fd)
            if not status.st_mode & stat.S_IROTH and _uid(writer) not in (0, os.getuid()):
                await _say(writer, 403, b"this file is not for everyone\n")
                return
            size = min(status.st_size, BUNDLE_LIMIT)
            content = ["Content-Type: application/octet-stream", f"Content-Length: {size}"]
            writer.write(_head(200, [_tag(config), *content]))
            for at in range(0, size, CHUNK):
                writer.write(os.pread(fd, min(CHUNK, size - at), at))
                await asyncio.wait_for(writer.drain(), PATIENCE)
        finally:
            if fd >= 0:
                os.close(fd)


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, target and headers (names in lower case). Raises ValueError."""
    first, *lines = head.decode("ascii").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    headers = (line.partition(":") for line in lines if line)
    return method, target, {name.strip().lower(): value.strip() for name, _, value in headers}


async def _is_settled(writer: asyncio.StreamWriter, headers: dict[str, str], config: Name) -> bool:
    """Answer what the client's conditions settle already; whether they did."""
    tag = f'"{config}"'
    if not _names(headers.get("if-match", "*"), tag):
        await _say(writer, 412, b"another config is in force\n", [_tag(config)])
    elif _names(headers.get("if-none-match", ""), tag):
        await _say(writer, 304, b"", [_tag(config)])
    else:
        return False
    return True


def _names(condition: str, tag: str) -> bool:
    """Whether a condition is about this tag: one of a list, or `*`. A weak one (`W/`) means the same here."""
    return not {"*", tag}.isdisjoint(name.strip().removeprefix("W/") for name in condition.split(","))


def _tag(config: Name) -> str:
    return f'ETag: "{config}"'


def _head(status: int, lines: Iterable[str]) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} {_REASONS[status]}", *lines, "Connection: close", "", ""]).encode()


async def _say(writer: asyncio.StreamWriter, status: int, body: bytes, lines: Iterable[str] = ()) -> None:
    writer.write(_head(status, [*lines, f"Content-Length: {len(body)}"]) + body)
    await asyncio.wait_for(writer.drain(), PATIENCE)


def _uid(writer: asyncio.StreamWriter) -> int:
    """The user at the other end."""
    peer: socket.socket = writer.get_extra_info("socket")
    packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(packed)[1])
