"""One OTLP request over HTTP, with the standard library: blocking, for a thread. Each has a connection of its own."""

from __future__ import annotations

import gzip
import http.client
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlp.config import OtlpExporterConfig, TlsConfig
from edgesync.wire.errors import NotReachableError

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer; what is behind them is not read."""
DELAY_LIMIT = 3600.0
"""Seconds that a backend can ask us to wait."""
RETRYABLE = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""Those of OTLP's specification; every other failure is for good."""


@dataclass(frozen=True, slots=True)
class Client:
    """`context` None: no TLS."""

    config: OtlpExporterConfig
    context: ssl.SSLContext | None

    def post(self, signal: str, request: bytes) -> bytes:
        """The body of an answer that is a success. Raises RetryableError, PermanentError."""
        url = urlsplit(self.config.endpoint)
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "edgesync-collector", **self.config.headers}
        if self.config.compression == "gzip":
            request = gzip.compress(request, 6, mtime=0)
            headers["Content-Encoding"] = "gzip"
        connection = self._connect(url.hostname or "", url.port)
        try:
            connection.request("POST", f"{url.path.rstrip('/')}/v1/{signal}", request, headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise RetryableError(f"{self.config.endpoint}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if 200 <= answer.status < 300:
            return body
        text = f"{self.config.endpoint} answers {answer.status} {answer.reason[:80]}"
        if answer.status in RETRYABLE:
            raise RetryableError(text, _delay(answer.headers.get("Retry-After", "")))
        raise PermanentError(text)

    def _connect(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection(host, port, timeout=self.config.timeout, context=self.context)
        return http.client.HTTPConnection(host, port, timeout=self.config.timeout)


def tls_context(endpoint: str, tls: TlsConfig) -> ssl.SSLContext | None:
    """Raises NotReachableError for files that cannot be read."""
    if not endpoint.startswith("https"):
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # of ssl too
        files = ", ".join(filter(None, (tls.ca_file, tls.cert_file, tls.key_file)))
        raise NotReachableError(f"tls: {files}: {error}") from error
    return context


def _delay(text: str) -> float:
    """Seconds of a Retry-After, a number or a date; 0 for what is neither."""
    if text.strip().isascii() and text.strip().isdigit():
        return min(DELAY_LIMIT, float(text))
    try:
        return min(DELAY_LIMIT, max(0.0, parsedate_to_datetime(text).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
