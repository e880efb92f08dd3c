"""The last resort: a blob by HTTP Range from any static server, `<url>/<blob>` and `<url>/<blob>.index`.

Nothing from here is trusted: index, leaves and pieces are checked by the same hashes as what the broker sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from functools import partial
from urllib.parse import urlsplit

from edgesync.host import threads
from edgesync.wire.errors import BlobMissingError, LinkError
from edgesync.wire.ids import BlobId

TIMEOUT = 60.0
"""Seconds that a server may stay silent."""
READ_LIMIT = 600.0
"""Seconds for one read: a server that drips a byte a minute is as good as silent."""


async def read(url: str, blob: BlobId, start: int, length: int) -> bytes:
    """`length` bytes of a blob from `start`. Raises LinkError for a server that cannot be reached or breaks off,
    BlobMissingError for one that has not got them.
    """
    return await _read(f"{url.rstrip('/')}/{blob}", length, start)


async def read_index(url: str, blob: BlobId, limit: int) -> bytes:
    """Index and leaves, at most `limit` bytes. Raises as `read` does."""
    return await _read(f"{url.rstrip('/')}/{blob}.index", limit, None)


async def _read(url: str, length: int, start: int | None) -> bytes:
    opened: list[socket.socket] = []
    try:
        return await asyncio.wait_for(threads.run(partial(_get, url, length, start, opened)), READ_LIMIT)
    except asyncio.TimeoutError as error:  # the builtin TimeoutError only from Python 3.11 on
        raise LinkError(f"{url}: not read within {READ_LIMIT:.0f} s") from error
    finally:
        # When nobody waits for the thread any more, it shall not wait for the server.
        for sock in opened:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _get(url: str, length: int, start: int | None, opened: list[socket.socket]) -> bytes:
    try:
        connection, path = _connection(url)
        ranged = {} if start is None else {"Range": f"bytes={start}-{start + length - 1}"}
        try:
            connection.connect()
            opened.append(connection.sock)
            connection.request("GET", path, headers=ranged)
            with connection.getresponse() as answer:
                # A server that does not know ranges would send everything: that is refused before a byte of it is read.
                if answer.status != (200 if start is None else 206):
                    raise BlobMissingError(f"{url}: HTTP status {answer.status}")
                data = answer.read(length + 1)
        finally:
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
