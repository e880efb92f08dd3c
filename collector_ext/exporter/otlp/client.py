"""OTLP requests over gRPC: one channel to a backend, whose requests share a connection."""

from __future__ import annotations

import re
import ssl
from typing import Any

from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.otlp.config import OtlpConfig
from collector_ext.ids import Signal
from collector_ext.otlp import certificates
from collector_ext.otlp.backend import TlsConfig
from collector_ext.otlp.inflate import MAGIC, gunzip
from collector_ext.otlp.response import printable, retry_delay
from collector_ext.otlp.rpc import DETAILS, INFLATES_ITSELF, METHOD, SERVICES, aio, grpc
from collector_ext.otlp.sending import ANSWER_LIMIT, DELAY_LIMIT
from edgesync.host.files import read_limited
from edgesync.wire.errors import EdgesyncError

RETRYABLE = (
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
)
"""Those of OTLP's specification, and RESOURCE_EXHAUSTED where the backend says when; all others are for good."""
_CONNECTING = re.compile(r"^failed to connect to all addresses; last error: [A-Z_]+: \S+ ")
"""Names one of several addresses, now this, now that: the same error would be news at each try."""
PEM_LIMIT = 4 << 20
"""Bytes of a file with certificates; that of a whole system has 0.2 MiB."""
OPTIONS = (
    INFLATES_ITSELF,
    ("grpc.primary_user_agent", "edgesync-collector"),
    ("grpc.max_receive_message_length", ANSWER_LIMIT),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # ours keep the exporter's limits
    ("grpc.use_local_subchannel_pool", 1),
    # The core waits up to two minutes before it connects anew, in which our tries would fail unseen.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Less often than servers mind. With it, Linux ends a connection whose bytes nobody acknowledged for 20 s.
    ("grpc.keepalive_time_ms", 300_000),
)


class GrpcTransport:
    """See the module. Made in the event loop that uses it."""

    def __init__(self, config: OtlpConfig) -> None:
        """Raises NotReachableError for files that cannot be read, StorageError for one that is too large."""
        self._config = config
        self._metadata = tuple((name.lower(), str(value)) for name, value in config.headers.items())
        compression = grpc.Compression.Gzip if config.compression == "gzip" else grpc.Compression.NoCompression
        if config.encrypted:
            self._channel = aio.secure_channel(config.target, _credentials(config.tls), OPTIONS, compression)
        else:
            self._channel = aio.insecure_channel(config.target, OPTIONS, compression)
        self._methods = {signal: self._channel.unary_unary(f"/{name}/{METHOD}") for signal, name in SERVICES.items()}

    async def send(self, signal: Signal, request: bytes) -> bytes:
        try:
            answer: bytes = await self._methods[signal](
                request, timeout=float(self._config.timeout), metadata=self._metadata
            )
        except aio.AioRpcError as error:
            raise _failure(self._config.endpoint, error) from error
        try:
            return gunzip(answer, ANSWER_LIMIT) if answer.startswith(MAGIC) else answer
        except EdgesyncError:
            return b""  # the data are taken, whatever the answer is

    async def close(self) -> None:
        await self._channel.close()


def _failure(endpoint: str, error: Any) -> RetryableError | PermanentError:
    """What an AioRpcError means for the data."""
    code = error.code()
    trailers = dict(error.trailing_metadata() or ())
    delay = retry_delay(trailers.get(DETAILS, b""))
    text = f"{endpoint}: {code.name}: {printable(_CONNECTING.sub('', error.details() or ''))}"
    if code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay is not None):
        return RetryableError(text, min(DELAY_LIMIT, delay or 0.0))
    return PermanentError(text)


def _credentials(tls: TlsConfig) -> grpc.ChannelCredentials:
    certificates.context(tls)  # what is wrong with the files, the core says only at the first connection, and not why
    # It would take authorities that it brings along, of the day when it was built.
    authorities = tls.ca_file or ssl.get_default_verify_paths().cafile or ""
    files = (authorities, tls.key_file, tls.cert_file)
    return grpc.ssl_channel_credentials(*(read_limited(path, PEM_LIMIT) if path else None for path in files))
