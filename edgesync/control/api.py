"""The local HTTP API on a Unix socket: what the command line and the git hook talk to. Reads, and submits events.

The socket's mode is 0600: whoever may open it may do everything, so there is no other login.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from edgesync.host.files import storage_errors
from edgesync.wire.codec import parse_object
from edgesync.wire.errors import ConfigError, EdgesyncError, MalformedMessageError, NotReachableError, StorageError
from edgesync.wire.fields import text
from edgesync.wire.ids import DeviceId, parse_device

BODY_LIMIT = 16 * 1024
PATH_LIMIT = 107
"""Bytes of a path that fit into a Unix socket address on Linux."""
STOP_LIMIT = 2
"""Seconds that open requests get when the server stops."""


class Control(Protocol):
    """What the API needs of the service. Refusals are ConfigError: the caller asked for what cannot be."""

    @property
    def fleet(self) -> str: ...
    def status(self) -> dict[str, Any]: ...
    async def board(self, device: DeviceId) -> dict[str, Any]: ...
    def blobs(self) -> list[dict[str, Any]]: ...
    async def history(self, device: DeviceId | None, limit: int) -> list[dict[str, Any]]: ...
    async def pause(self) -> dict[str, Any]: ...
    async def resume(self) -> dict[str, Any]: ...
    async def abort(self, reason: str) -> dict[str, Any]: ...
    async def retry(self, device: DeviceId | None) -> dict[str, Any]: ...
    def wake(self) -> None: ...


def application(control: Control) -> Starlette:
    """The routes. Every answer is JSON; a failure is {"error": name, "detail": text} with status 400, 404 or 503."""

    async def status(_request: Request) -> JSONResponse:
        return JSONResponse(control.status())

    async def board(request: Request) -> JSONResponse:
        return JSONResponse(await control.board(_device(control, request.path_params["device"])))

    async def blobs(_request: Request) -> JSONResponse:
        return JSONResponse({"blobs": control.blobs()})

    async def history(request: Request) -> JSONResponse:
        number = request.query_params.get("n", "100")
        if not number.isascii() or not number.isdigit() or len(number) > 6:
            raise ConfigError(f"n: found {number[:20]!r}, expected a number of lines")
        board = request.query_params.get("board")
        device = None if board is None else _device(control, board)
        return JSONResponse({"entries": await control.history(device, int(number))})

    async def pause(_request: Request) -> JSONResponse:
        return JSONResponse(await control.pause())

    async def resume(_request: Request) -> JSONResponse:
        return JSONResponse(await control.resume())

    async def abort(request: Request) -> JSONResponse:
        return JSONResponse(await control.abort(text(await _body(request), "reason", 150, "by the operator")))

    async def retry(request: Request) -> JSONResponse:
        body = await _body(request)
        device = None if body.get("all") is True else _device(control, text(body, "board"))
        return JSONResponse(await control.retry(device))

    async def wake(_request: Request) -> JSONResponse:
        control.wake()
        return JSONResponse({})

    routes = [
        Route("/v1/status", status),
        Route("/v1/blobs", blobs),
        Route("/v1/history", history),
        Route("/v1/boards/{device}", board),
        *(
            Route(f"/v1/{handler.__name__}", handler, methods=["POST"])
            for handler in (pause, resume, abort, retry, wake)
        ),
    ]
    return Starlette(
        routes=routes,
        exception_handlers={
            NotReachableError: _failed(404),
            StorageError: _failed(503),
            ConfigError: _failed(400),
            MalformedMessageError: _failed(400),
        },
    )


class ApiServer(uvicorn.Server):
    """uvicorn without its signal handlers: the service ends it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(control: Control) -> ApiServer:
    """Run it with `await server.serve(sockets=[listen(path)])`; `server.should_exit = True` ends it."""
    config = uvicorn.Config(
        application(control),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_LIMIT,
        ws="none",
    )
    return ApiServer(config)


def listen(path: Path) -> socket.socket:
    """A listening Unix socket of mode 0600. One that a dead server left behind is replaced.

    Raises ConfigError if another server answers there or the path does not fit into a socket address, StorageError.
    """
    found = len(os.fsencode(path))
    if found > PATH_LIMIT:
        raise ConfigError(f"key 'socket': {path}: found a path of {found} bytes, expected at most {PATH_LIMIT}")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ConfigError(f"{path}: found a server that answers, expected none; stop it first")
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        with storage_errors(str(path)):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(64)
    except StorageError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _device(control: Control, board: str) -> DeviceId:
    """A board as people name it: `<fleet>.<board>`, or its id alone."""
    return parse_device(board if "." in board else f"{control.fleet}.{board}")


async def _body(request: Request) -> dict[str, Any]:
    """The request's JSON object; {} without a body."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT:
            raise HTTPException(413)
    if not data:
        return {}
    return parse_object(data)


def _failed(status: int) -> Any:
    def answer(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EdgesyncError)
        return JSONResponse({"error": error.name, "detail": str(error)}, status)

    return answer
