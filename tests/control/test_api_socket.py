"""The API over a real Unix socket: what comes back, and that bad questions are named errors."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesync.cli.client import Client
from edgesync.control import api
from edgesync.wire.errors import ConfigError, EdgesyncError, MalformedMessageError, NotReachableError, StorageError
from edgesync.wire.ids import DeviceId


class Fake:
    """Remembers what it was asked."""

    fleet = "demo"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def status(self) -> dict[str, Any]:
        return {"fleet": "demo"}

    async def board(self, device: DeviceId) -> dict[str, Any]:
        if device == "demo.none":
            raise NotReachableError("no such board")
        return {"device": device}

    def blobs(self) -> list[dict[str, Any]]:
        return [{"bytes": 7}]

    async def history(self, device: str | None, limit: int) -> list[dict[str, Any]]:
        if device == "demo.broken":
            raise StorageError("disk")
        return [{"device": device, "limit": limit}]

    async def pause(self) -> dict[str, Any]:
        return self._did("pause")

    async def resume(self) -> dict[str, Any]:
        return self._did("resume")

    async def abort(self, reason: str) -> dict[str, Any]:
        if reason == "idle":
            raise ConfigError("nothing runs")
        return self._did(("abort", reason))

    async def retry(self, device: DeviceId | None) -> dict[str, Any]:
        return self._did(("retry", device))

    def wake(self) -> None:
        self.asked.append("wake")

    def _did(self, what: Any) -> dict[str, Any]:
        self.asked.append(what)
        return {"done": True}


@contextlib.contextmanager
def served(path: Path, fake: Fake) -> Iterator[Client]:
    server = api.server(fake)
    listener = api.listen(path)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield Client(path)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def test_every_question_reaches_the_service_and_comes_back(tmp_path: Path) -> None:
    fake = Fake()
    with served(tmp_path / "s", fake) as client:
        assert client.get("/v1/status") == {"fleet": "demo"}
        assert client.get("/v1/boards/demo.b1") == {"device": "demo.b1"}
        assert client.get("/v1/history?n=7&board=demo.b1") == {"entries": [{"device": "demo.b1", "limit": 7}]}
        assert client.get("/v1/blobs") == {"blobs": [{"bytes": 7}]}
        client.post("/v1/pause")
        client.post("/v1/resume")
        client.post("/v1/abort", reason="smoke")
        client.post("/v1/retry", board="demo.b1")
        client.post("/v1/retry", all=True)
        client.post("/v1/wake")
    assert fake.asked == ["pause", "resume", ("abort", "smoke"), ("retry", "demo.b1"), ("retry", None), "wake"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/v1/boards/demo.none", NotReachableError),
        ("/v1/boards/NOT", MalformedMessageError),
        ("/v1/history?board=broken", StorageError),
        ("/v1/history?n=-1", ConfigError),
        ("/v1/history?n=9999999", ConfigError),
        ("/v1/nothing", NotReachableError),
    ],
)
def test_a_bad_question_is_a_named_error(tmp_path: Path, target: str, kind: type[EdgesyncError]) -> None:
    with served(tmp_path / "s", Fake()) as client, pytest.raises(kind):
        client.get(target)


def test_a_board_may_be_named_by_its_id_alone(tmp_path: Path) -> None:
    fake = Fake()
    with served(tmp_path / "s", fake) as client:
        assert client.get("/v1/boards/b1") == {"device": "demo.b1"}
        assert client.get("/v1/history?board=b1") == {"entries": [{"device": "demo.b1", "limit": 100}]}
        client.post("/v1/retry", board="b1")
    assert fake.asked == [("retry", "demo.b1")]


def test_bad_bodies_change_nothing(tmp_path: Path) -> None:
    fake = Fake()
    with served(tmp_path / "s", fake) as client:
        for command, body in (
            ("retry", {}),
            ("retry", {"board": 5}),
            ("retry", {"board": "../x"}),
            ("retry", {"board": ""}),
            ("retry", {"all": "yes"}),
            ("abort", {"reason": "x" * 151}),
            ("abort", {"reason": "idle"}),
            ("retry", {"board": "x" * 100_000}),
        ):
            with pytest.raises(EdgesyncError):
                client.post(f"/v1/{command}", **body)
    assert fake.asked == []


def test_only_the_owner_may_connect_and_a_dead_server_s_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):
        listener = api.listen(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        listener.close()


def test_a_second_server_and_a_path_too_long_are_refused(tmp_path: Path) -> None:
    with served(tmp_path / "s", Fake()), pytest.raises(ConfigError, match="stop it first"):
        api.listen(tmp_path / "s")
    with pytest.raises(ConfigError, match="at most 107"):
        api.listen(tmp_path / ("x" * 120))
    with pytest.raises(StorageError):
        api.listen(Path("/proc/none/s"))


def test_without_a_server_the_client_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotReachableError, match="edgesync serve"):
        Client(tmp_path / "s").get("/v1/status")


def test_an_answer_that_is_not_a_server_s_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def rude() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n\r\n")

        thread = threading.Thread(target=rude)
        thread.start()
        with pytest.raises(NotReachableError):
            Client(path).get("/v1/status")
        thread.join(5)


def test_the_git_hook_s_bare_request_wakes_the_server(tmp_path: Path) -> None:
    fake = Fake()
    with served(tmp_path / "s", fake), socket.socket(socket.AF_UNIX) as hook:
        hook.connect(str(tmp_path / "s"))
        hook.sendall(b"POST /v1/wake HTTP/1.1\r\nHost: edgesync\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(hook)
        response.begin()
        assert response.status == 200
    assert fake.asked == ["wake"]
