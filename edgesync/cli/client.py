"""Talks to the server's Unix socket with the standard library alone, and turns its answers into errors again."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesync.wire.errors import ConfigError, EdgesyncError, NotReachableError, by_name

TIMEOUT = 10.0
"""Seconds for one question."""
ANSWER_LIMIT = 256 * 1024 * 1024
"""Bytes: the status of 100,000 boards is 60 MB."""
DEFAULT_CONFIGS = (Path("server.toml"), Path("server/server.toml"))


class Client:
    """One server. Every call raises NotReachableError when it is not there, or the error that it named."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, target: str) -> dict[str, Any]:
        return self._ask("GET", target, None)

    def post(self, target: str, **body: Any) -> dict[str, Any]:
        return self._ask("POST", target, json.dumps(body).encode())

    def _ask(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            data = response.read(ANSWER_LIMIT)
            answer = json.loads(data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotReachableError(
                f"{self._path}: no server answers there ({error}); start it with `edgesync serve`, or say "
                "with --config or --socket which one is meant"
            ) from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise NotReachableError(
                f"{self._path}: found a {type(answer).__name__}, expected an edgesync server's object"
            )
        if response.status != http.HTTPStatus.OK:
            raise _error(answer)
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("edgesync", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How a command finds the server."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--config", type=Path, metavar="FILE", help="the server's server.toml (default: here, or ./server)"
    )
    where.add_argument("--socket", type=Path, metavar="PATH", help="the server's Unix socket")


def connect(args: argparse.Namespace) -> Client:
    """The server that the arguments mean. Raises ConfigError if they do not say which."""
    if args.socket:
        return Client(args.socket)
    return Client(_configured(args.config))


def kind_of(blob: Mapping[str, Any]) -> str:
    """The kind of a blob that the server tells of, in words."""
    return f"mixed {blob['kind']}" if blob["coder"] == "mixing" else str(blob["kind"])


def _configured(file: Path | None) -> Path:
    from edgesync.control import config

    if file is None:
        file = next((place for place in DEFAULT_CONFIGS if place.exists()), None)
    if file is None:
        tried = " and ".join(str(place) for place in DEFAULT_CONFIGS)
        raise ConfigError(f"found no {tried} here; say with --config or --socket which server is meant")
    return config.load(file).socket


def _error(answer: dict[str, Any]) -> EdgesyncError:
    kind = by_name(str(answer.get("error"))) or NotReachableError
    error = kind(str(answer.get("detail")))
    error.hint = ""  # type: ignore[misc]  # the server's text has it already
    return error
