"""The last resort: a blob by HTTP Range from any static server, `<url>/<blob>` and `<url>/<blob>.index`.

Nothing from here is trusted: index, leaves and pieces are checked by the same hashes as what the broker sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from edgesync.host import tcp, threads
from edgesync.wire.errors import BlobMissingError, LinkError
from edgesync.wire.ids import BlobId

TIMEOUT = 60.0
"""Seconds that a server may stay silent."""
READ_LIMIT = 600.0
"""Seconds for one read: a server that drips a byte a minute is as good as silent."""


Count = Callable[[int], None]
"""Is told the bytes that a read cost at IP level, both ways, however it ended."""


async def read(url: str, blob: BlobId, start: int, length: int, *, count: Count) -> bytes:
    """`length` bytes of a blob from `start`. Raises LinkError for a server that cannot be reached or breaks off,
    BlobMissingError for one that has not got them.
    """
    return await _read(f"{url.rstrip('/')}/{blob}", length, start, count)


async def read_index(url: str, blob: BlobId, limit: int, *, count: Count) -> bytes:
    """Index and leaves, at most `limit` bytes. Raises as `read` does."""
    return await _read(f"{url.rstrip('/')}/{blob}.index", limit, None, count)


async def _read(url: str, length: int, start: int | None, count: Count) -> bytes:
    opened: list[socket.socket] = []
    closed: list[tcp.Carried] = []
    try:
        return await asyncio.wait_for(threads.run(partial(_get, url, length, start, opened, closed)), READ_LIMIT)
    except asyncio.TimeoutError as error:  # the builtin TimeoutError only from Python 3.11 on
        raise LinkError(f"{url}: not read within {READ_LIMIT:.0f} s") from error
    finally:
        for carried in closed or map(tcp.carried, opened):
            count(carried.total)
        # When nobody waits for the thread any more, it shall not wait for the server.
        for sock in opened:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _get(url: str, length: int, start: int | None, opened: list[socket.socket], closed: list[tcp.Carried]) -> bytes:
    """`opened` gets a socket to watch the connection by, `closed` what it has carried."""
    watched: socket.socket | None = None
    try:
        connection, path = _connection(url)
        ranged = {} if start is None else {"Range": f"bytes={start}-{start + length - 1}"}
        try:
            connection.connect()
            # One of our own: http.client gives its socket away to the answer, which closes it when it likes.
            watched = socket.socket(fileno=os.dup(connection.sock.fileno()))
            opened.append(watched)
            connection.request("GET", path, headers=ranged)
            with connection.getresponse() as answer:
                # A server that does not know ranges would send everything: that is refused before a byte of it is read.
                if answer.status != (200 if start is None else 206):
                    raise BlobMissingError(f"{url}: HTTP status {answer.status}")
                data = answer.read(length + 1)
        except OSError as error:
            if watched is None:
                closed.append(tcp.attempted(error))
            raise
        finally:
            if watched:
                closed.append(tcp.carried(watched) + tcp.Carried(total=tcp.CLOSING))
                watched.close()
            connection.close()
    except ValueError as error:
        raise BlobMissingError(f"{url}: not an HTTP address: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise LinkError(f"{url}: {error}") from error
    if len(data) > length or (start is not None and len(data) != length):
        raise LinkError(f"{url}: {len(data)} bytes came, {length} were asked for")
    return data


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and the path to ask for. Raises ValueError for what is no HTTP address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http://<host>/<path> or https://")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=TIMEOUT), parts.path
