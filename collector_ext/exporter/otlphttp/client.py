"""OTLP requests over HTTP, with the standard library: each blocks a thread and has a connection of its own."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlphttp.config import OtlpHttpConfig
from collector_ext.ids import Signal
from collector_ext.otlp import certificates
from collector_ext.otlp.response import printable
from collector_ext.otlp.sending import ANSWER_LIMIT, DELAY_LIMIT
from edgesync.host import threads

RETRYABLE = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""Those of OTLP's specification; every other failure is for good."""


@dataclass(frozen=True, slots=True)
class HttpTransport:
    """`context` None: no TLS."""

    config: OtlpHttpConfig
    context: ssl.SSLContext | None

    async def send(self, signal: Signal, request: bytes) -> bytes:
        url = urlsplit(self.config.endpoint)
        connection = self._connection(url.hostname or "", url.port)
        path, timeout = f"{url.path.rstrip('/')}/v1/{signal.value}", float(self.config.timeout)
        loop = asyncio.get_running_loop()
        # The library's timeout is that of one read: a backend that sends a byte now and then would hold us for ever.
        until = loop.time() + timeout
        limit = loop.call_at(until, _cut, connection)
        try:
            return await threads.run(partial(self._post, connection, path, request))
        except RetryableError as error:
            if loop.time() < until:
                raise
            raise RetryableError(f"{self.config.endpoint}: no answer within {timeout:g} s") from error
        finally:
            limit.cancel()
            _cut(connection)  # where nobody waits any more, the thread need not either

    async def close(self) -> None:
        pass  # no connection outlives its request

    def _post(self, connection: http.client.HTTPConnection, path: str, request: bytes) -> bytes:
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "edgesync-collector", **self.config.headers}
        if self.config.compression == "gzip":
            request = gzip.compress(request, 6, mtime=0)
            headers["Content-Encoding"] = "gzip"
        try:
            connection.request("POST", path, request, headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise RetryableError(f"{self.config.endpoint}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if 200 <= answer.status < 300:
            return body
        text = f"{self.config.endpoint} answers {answer.status} {printable(answer.reason)}"
        if answer.status in RETRYABLE:
            raise RetryableError(text, _delay(answer.headers.get("Retry-After", "")))
        raise PermanentError(text)

    def _connection(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection(host, port, timeout=self.config.timeout, context=self.context)
        return http.client.HTTPConnection(host, port, timeout=self.config.timeout)


def connect(config: OtlpHttpConfig) -> HttpTransport:
    """Raises NotReachableError for files that cannot be read."""
    return HttpTransport(config, certificates.context(config.tls) if config.endpoint.startswith("https") else None)


def _cut(connection: http.client.HTTPConnection) -> None:
    """Wake whoever reads from it or writes to it, with an error."""
    found: socket.socket | None = connection.sock
    if found is not None:
        try:
            socket.socket.shutdown(found, socket.SHUT_RDWR)  # not SSLSocket's, which takes the TLS from under a reader
        except OSError:
            pass  # it is closed, or was never connected


def _delay(text: str) -> float:
    """Seconds of a Retry-After, a number or a date; 0 for what is neither."""
    if text.strip().isascii() and text.strip().isdigit():
        return min(DELAY_LIMIT, float(text))
    try:
        return min(DELAY_LIMIT, max(0.0, parsedate_to_datetime(text).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
