"""Takes OTLP over HTTP: POST of protobuf to /v1/metrics, /v1/traces, /v1/logs, gzip or not.

    200   the pipeline has taken it
    400   it is malformed, or no pipeline will ever take it
    404   no pipeline carries this signal
    413   too large, as sent or after gzip
    415   JSON, or another compression
    503   the pipeline cannot take it now: the sender tries again

A request is checked for its size before it is inflated, while it is, and before it is parsed.
"""

from __future__ import annotations

import zlib
from functools import partial
from http import HTTPStatus

from collector_ext.component import Consumers, Host, Settings
from collector_ext.consumererror import RetryableError
from collector_ext.ids import Signal
from collector_ext.otlp.decode import decode
from collector_ext.otlp.response import failure
from collector_ext.pdata import Data
from collector_ext.receiver.otlp.config import OtlpReceiverConfig
from edgesync.host import threads
from edgesync.host.http import Answer, HttpServer, Post, not_found, parse_endpoint
from edgesync.wire.errors import EdgesyncError, MalformedMessageError, MessageTooLargeError

PROTOBUF = "application/x-protobuf"
PATHS = {f"/v1/{signal.value}": signal for signal in Signal}


class OtlpReceiver:
    """One endpoint. See the module."""

    def __init__(self, settings: Settings, config: OtlpReceiverConfig, consumers: Consumers) -> None:
        http = config.protocols.http
        self._endpoint, self._limit = http.endpoint, http.max_request_body_size
        self._consumers, self._log = consumers, settings.logger
        self._server = HttpServer(
            parse_endpoint(http.endpoint), lambda _path, _query: not_found(), self.take, body_limit=self._limit
        )
        self._taken = settings.meter.counter("collector_otlp_requests", "OTLP requests, by what became of them")

    @property
    def port(self) -> int:
        """The TCP port that is really listened on."""
        return self._server.port

    async def start(self, _host: Host) -> None:
        """Raises NotReachableError where the endpoint cannot be had."""
        await self._server.start()
        self._log.info("takes OTLP at %s", self._endpoint)

    async def shutdown(self) -> None:
        await self._server.close()

    async def take(self, post: Post) -> Answer:
        answer = await self._take(post)
        self._taken.add(1, status=str(answer.status))
        return answer

    async def _take(self, post: Post) -> Answer:
        signal = PATHS.get(post.path)
        if signal is None or self._consumers.of(signal) is None:
            return _refused(HTTPStatus.NOT_FOUND, f"no pipeline takes {post.path[:80]}")
        kind = post.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = post.headers.get("content-encoding", "identity").lower()
        if kind != PROTOBUF or coding not in ("identity", "gzip"):
            text = f"found {kind[:80]!r} with {coding[:80]!r}, expected {PROTOBUF}, gzip or not"
            return _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        try:
            # In a thread: megabytes take long, and the others in this loop shall not wait for them.
            data = await threads.run(partial(_read, signal, post.body, self._limit, gzip=coding == "gzip"))
            await self._consumers.consume(data)
        except MessageTooLargeError as error:
            return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
        except RetryableError as error:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), error.delay)
        except EdgesyncError as error:
            self._log.warning("refused %s: %s: %s", signal.value, error.name, error)
            return _refused(HTTPStatus.BAD_REQUEST, f"{error.name}: {error}")
        return Answer(b"", content_type=PROTOBUF)


def _read(signal: Signal, body: bytes, limit: int, *, gzip: bool) -> Data:
    """Raises MessageTooLargeError, MalformedMessageError."""
    return decode(signal, _inflated(body, limit) if gzip else body)


def _inflated(body: bytes, limit: int) -> bytes:
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedMessageError(f"the body is no gzip: {error}") from error
    if len(plain) > limit:
        raise MessageTooLargeError(f"the body inflates to more than {limit} bytes")
    if not inflate.eof or inflate.unused_data:
        raise MalformedMessageError("the body's gzip is cut off or has bytes behind its end")
    return plain


def _refused(status: HTTPStatus, why: str, delay: float = 0.0) -> Answer:
    headers = {"Retry-After": str(max(1, round(delay)))} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Answer(failure(why), status.value, PROTOBUF, headers)
