"""The last resort: a blob by HTTP Range from any static server, `<url>/<blob>` and `<url>/<blob>.index`.

Nothing from here is trusted: index, leaves and pieces are checked by the same hashes as what the broker sends.
"""

from __future__ import annotations

import asyncio
import http.client
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
    try:
        return await asyncio.wait_for(threads.run(partial(_get, url, length, start)), READ_LIMIT)
    except asyncio.TimeoutError as error:  # the builtin TimeoutError only from Python 3.11 on
        raise LinkError(f"{url}: not read within {READ_LIMIT:.0f} s") from error


def _get(url: str, length: int, start: int | None) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BlobMissingError(f"{url}: not an HTTP address")
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        ranged = {} if start is None else {"Range": f"bytes={start}-{start + length - 1}"}
        connection.request("GET", parts.path, headers=ranged)
        with connection.getresponse() as answer:
            # A server that does not know ranges would send everything: that is refused before a byte of it is read.
            if answer.status != (200 if start is None else 206):
                raise BlobMissingError(f"{url}: HTTP status {answer.status}")
            data = answer.read(length + 1)
    except (OSError, http.client.HTTPException) as error:
        raise LinkError(f"{url}: {error}") from error
    finally:
        connection.close()
    if len(data) > length or (start is not None and len(data) != length):
        raise LinkError(f"{url}: {len(data)} bytes came, {length} were asked for")
    return data
