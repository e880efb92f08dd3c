"""Takes OTLP over gRPC: Export of the three services, gzip or not.

    OK                   the pipeline has taken it
    INVALID_ARGUMENT     it is malformed, or no pipeline will ever take it
    RESOURCE_EXHAUSTED   too large, as sent or after gzip
    UNAVAILABLE          the pipeline cannot take it now, or too many send: the sender tries again, after the delay of
                         the RetryInfo where there is one
    DEADLINE_EXCEEDED    the request did not arrive in time
    UNIMPLEMENTED        no pipeline carries this signal, or another compression

A request is checked for its size by the core as it arrives, while it is inflated, and before it is parsed. It is read
only after it was admitted: what waits besides is what a connection's window holds.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from functools import partial
from typing import Any

from collector_ext.consumererror import RetryableError
from collector_ext.ids import Signal
from collector_ext.otlp.inflate import MAGIC
from collector_ext.otlp.response import failure
from collector_ext.otlp.rpc import DETAILS, IDENTITY_AND_GZIP, INFLATES_ITSELF, METHOD, SERVICES, aio, grpc
from collector_ext.receiver.otlp.config import GrpcConfig
from collector_ext.receiver.otlp.intake import Intake
from collector_ext.settings.sizes import MIB
from edgesync.host.http import CLIENTS, TAKE_LIMIT, TIME_LIMIT, Endpoint, parse_endpoint
from edgesync.host.tasks import end
from edgesync.wire.errors import EdgesyncError, MessageTooLargeError, NotReachableError

CONNECTIONS = 256
"""At once; more are closed at once."""
BUSY_DELAY = 1.0
"""Seconds that a sender is asked to wait while CLIENTS others send."""
TEXT_LIMIT = 500
"""Characters of a reason: it travels in the trailers, of which clients take 8 KiB."""
GRACE = 1.0
"""Seconds that requests under way get when the collector ends."""


class GrpcReceiver:
    """One endpoint. See the module."""

    def __init__(self, config: GrpcConfig, intake: Intake) -> None:
        self._config, self._intake = config, intake
        self._server: Any = None
        self._serving: set[asyncio.Task[Any]] = set()
        self.port = 0
        """The TCP port that is really listened on."""

    async def start(self) -> None:
        """Raises NotReachableError where the endpoint cannot be had."""
        server = aio.server(
            options=(
                INFLATES_ITSELF,
                IDENTITY_AND_GZIP,
                ("grpc.max_receive_message_length", self._config.max_recv_msg_size_mib * MIB),
                ("grpc.max_allowed_incoming_connections", CONNECTIONS),
                ("grpc.max_concurrent_streams", CLIENTS),
                ("grpc.so_reuseport", 0),  # a second collector at the same port would get half of the senders
            )
        )
        server.add_generic_rpc_handlers(
            [
                # Of a stream the handler reads by itself, and on the wire one request is a stream of one.
                grpc.method_handlers_generic_handler(
                    name, {METHOD: grpc.stream_unary_rpc_method_handler(partial(self._export, signal))}
                )
                for signal, name in SERVICES.items()
                if self._intake.carries(signal)
            ]
        )
        try:
            await self._listen(server)
        except (OSError, RuntimeError) as error:
            why = (isinstance(error, OSError) and error.strerror) or "it is taken, or not this machine's"
            raise NotReachableError(f"cannot listen on {self._config.endpoint}: {why}") from error
        await server.start()
        self._server = server

    async def _listen(self, server: Any) -> None:
        """Raises OSError, RuntimeError."""
        endpoint = parse_endpoint(self._config.endpoint)
        if endpoint.path:
            server.add_insecure_port(f"unix:{endpoint.path}")
            return
        self.port = endpoint.port
        for host in await _hosts(endpoint):
            self.port = server.add_insecure_port(f"{host}:{self.port}")  # one that is picked is the same for all

    async def close(self) -> None:
        """Also without a start, and a second time."""
        server, self._server = self._server, None
        if server:
            await server.stop(GRACE)
            await end(self._serving)  # cancelled by now, and not waited for

    async def _export(self, signal: Signal, _requests: Any, context: Any) -> bytes:
        """The empty response: all of it is taken."""
        if len(self._serving) >= CLIENTS:
            await self._refuse(context, grpc.StatusCode.UNAVAILABLE, f"{CLIENTS} send already", BUSY_DELAY)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._take(signal, context)
        except MessageTooLargeError as error:
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except RetryableError as error:
            await self._refuse(context, grpc.StatusCode.UNAVAILABLE, str(error), error.delay)
        except EdgesyncError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{error.name}: {error}")
        finally:
            self._serving.discard(task)
        self._intake.count("grpc", grpc.StatusCode.OK.name)
        return b""

    async def _take(self, signal: Signal, context: Any) -> None:
        try:
            body = await asyncio.wait_for(context.read(), TIME_LIMIT)
        except asyncio.TimeoutError:
            await self._refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, f"no request within {TIME_LIMIT:g} s")
        limit = self._config.max_recv_msg_size_mib * MIB
        if body is aio.EOF:
            # The core has refused it, and told so: too large, or another compression. Or an odd client sent none.
            self._intake.count("grpc", "UNREAD")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"no request of at most {limit} bytes")
        try:
            await asyncio.wait_for(self._intake.take(signal, body, limit, gzip=body.startswith(MAGIC)), TAKE_LIMIT)
        except asyncio.TimeoutError:
            await self._refuse(context, grpc.StatusCode.UNAVAILABLE, f"not taken within {TAKE_LIMIT:g} s")

    async def _refuse(self, context: Any, code: grpc.StatusCode, why: str, delay: float = 0.0) -> None:
        """Ends the handler."""
        self._intake.count("grpc", code.name)
        why = why[:TEXT_LIMIT]
        await context.abort(code, why, ((DETAILS, failure(why, code.value[0], delay)),))


async def _hosts(endpoint: Endpoint) -> list[str]:
    """The addresses of a host that this machine has. The core, left to itself, is content with one that is free. Raises
    OSError.
    """
    if not endpoint.host:
        return ["[::]"]  # IPv4 too
    hosts, last = [], OSError()
    loop = asyncio.get_running_loop()
    for family, *_, address in await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # localhost where there is no IPv6
                raise
            last = error
        else:
            hosts.append(f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0]))
    if not hosts:
        raise last
    return hosts
