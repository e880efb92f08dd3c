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

from http import HTTPStatus

from collector_ext.consumererror import RetryableError
from collector_ext.ids import Signal
from collector_ext.otlp.response import failure
from collector_ext.receiver.otlp.config import HttpConfig
from collector_ext.receiver.otlp.intake import Intake
from edgesync.host.http import Answer, HttpServer, Post, not_found, parse_endpoint
from edgesync.wire.errors import EdgesyncError, MessageTooLargeError

PROTOBUF = "application/x-protobuf"
PATHS = {f"/v1/{signal.value}": signal for signal in Signal}


class HttpReceiver:
    """One endpoint. See the module."""

    def __init__(self, config: HttpConfig, intake: Intake) -> None:
        self._intake, self._limit = intake, config.max_request_body_size
        self._server = HttpServer(
            parse_endpoint(config.endpoint), lambda _path, _query: not_found(), self.take, body_limit=self._limit
        )

    @property
    def port(self) -> int:
        """The TCP port that is really listened on."""
        return self._server.port

    async def start(self) -> None:
        """Raises NotReachableError where the endpoint cannot be had."""
        await self._server.start()

    async def close(self) -> None:
        await self._server.close()

    async def take(self, post: Post) -> Answer:
        answer = await self._take(post)
        self._intake.count("http", str(answer.status))
        return answer

    async def _take(self, post: Post) -> Answer:
        signal = PATHS.get(post.path)
        if signal is None or not self._intake.carries(signal):
            return _refused(HTTPStatus.NOT_FOUND, f"no pipeline takes {post.path[:80]}")
        kind = post.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = post.headers.get("content-encoding", "identity").lower()
        if kind != PROTOBUF or coding not in ("identity", "gzip"):
            text = f"found {kind[:80]!r} with {coding[:80]!r}, expected {PROTOBUF}, gzip or not"
            return _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        try:
            await self._intake.take(signal, post.body, self._limit, gzip=coding == "gzip")
        except MessageTooLargeError as error:
            return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
        except RetryableError as error:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), error.delay)
        except EdgesyncError as error:
            return _refused(HTTPStatus.BAD_REQUEST, f"{error.name}: {error}")
        return Answer(b"", content_type=PROTOBUF)


def _refused(status: HTTPStatus, why: str, delay: float = 0.0) -> Answer:
    headers = {"Retry-After": str(max(1, round(delay)))} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Answer(failure(why), status.value, PROTOBUF, headers)
