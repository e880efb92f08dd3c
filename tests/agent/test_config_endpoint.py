"""The socket that applications ask: one tree an answer, and no client that can hurt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tree_parts import Disk, made

from edgesync.agent.tree import endpoint as module
from edgesync.agent.tree.endpoint import CLIENTS, HEAD_LIMIT, Endpoint
from edgesync.wire.ids import Digest

FILES = {"app/main.conf": b"speed = 1\n", "a b/\u00e9.conf": b"x" * 100_000, "key": (b"secret", 0o600), "empty": b""}
OTHER = {"app/main.conf": b"speed = 2\n"}


class Bench:
    """A served config, and a client."""

    def __init__(self, root: Path) -> None:
        self.disk = Disk(root / "config")
        self.path = str(root / "run" / "config.sock")
        self.endpoint = Endpoint(self.path, self.disk.trees, self.disk.bundles)

    def install(self, files: Any) -> Digest:
        digest = self.disk.install(made(files))
        self.endpoint.switched()
        return digest

    async def ready(self) -> None:
        while not os.path.exists(self.path):
            await asyncio.sleep(0.01)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def get(self, target: str, *headers: str, raw: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer."""
        reader, writer = await self.connect()
        writer.write(raw or "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *headers, "", ""]).encode())
        try:
            answer = await asyncio.wait_for(reader.read(), 20)
        finally:
            await closed(writer)
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def play(root: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def served() -> None:
        bench = Bench(root)
        serving = asyncio.create_task(bench.endpoint.run())
        await bench.ready()
        try:
            await scenario(bench)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.sleep(0.05)  # connections are closed behind the server's back

    asyncio.run(asyncio.wait_for(served(), 60))


def test_files_come_byte_for_byte_with_the_digest_of_their_tree(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        digest = bench.install(FILES)
        for target, content in (
            ("app/main.conf", b"speed = 1\n"),
            ("a%20b/%C3%A9.conf", b"x" * 100_000),
            ("key", b"secret"),
            ("empty", b""),
        ):
            status, headers, body = await bench.get(f"/v1/config/{target}")
            assert (status, headers["ETag"], body) == (200, f'"{digest}"', content)
            assert int(headers["Content-Length"]) == len(content)

    play(tmp_path, scenario)


def test_the_list_names_every_file_and_a_board_without_config_has_none(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        assert json.loads((await bench.get("/v1/config"))[2]) == {"config": "", "files": []}
        digest = bench.install(FILES)
        told = json.loads((await bench.get("/v1/config"))[2])
        assert told["config"] == digest
        assert {"path": "key", "mode": "0600", "size": 6} in told["files"]
        assert {f["path"] for f in told["files"]} == set(FILES)

    play(tmp_path, scenario)


def test_a_reader_of_several_files_is_told_when_another_tree_came_in_between(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        tag = f'"{bench.install(FILES)}"'
        assert (await bench.get("/v1/config/empty", f"If-Match: {tag}"))[0] == 200
        assert (await bench.get("/v1/config/empty", f"If-None-Match: {tag}"))[::2] == (304, b"")
        assert (await bench.get("/v1/config/empty", f'If-None-Match: "x", W/{tag}'))[::2] == (304, b"")
        assert [(await bench.get("/v1/config/empty", f"If-Match: {of}"))[0] for of in ('"x"', f'"x", {tag}', "*")] == [
            412,
            200,
            200,
        ]
        bench.install(OTHER)
        assert (await bench.get("/v1/config/app/main.conf", f"If-Match: {tag}"))[0] == 412
        assert (await bench.get("/v1/config/app/main.conf", f"If-None-Match: {tag}"))[::2] == (200, b"speed = 2\n")

    play(tmp_path, scenario)


def test_who_watches_is_told_at_once_and_at_each_switch_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        reader, writer = await bench.connect()
        writer.write(b"GET /v1/config?watch HTTP/1.1\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")

        async def line() -> Any:
            size = int(await reader.readuntil(b"\r\n"), 16)
            return json.loads((await reader.readexactly(size + 2))[:size])["config"]

        assert await line() == ""
        one = bench.install(FILES)
        assert await line() == one
        bench.endpoint.switched()  # the same again is no news
        await asyncio.sleep(0.05)
        two = bench.install(OTHER)
        assert await line() == two
        (bench.disk.root / "current" / "app" / "main.conf").write_bytes(b"by hand")
        assert bench.install(OTHER) == two  # healed: who holds the tree that someone wrote to will find it gone
        assert await line() == two
        await closed(writer)
        while bench.endpoint._serving:
            await asyncio.sleep(0.01)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/config/nothing",
        "/v1/config/app",
        "/v1/config/../bundles/x",
        "/v1/config/%2e%2e/%2e%2e/key",
        "/v1/config//etc/passwd",
        "/v1/config/link",
        "/v1/config/app/main.conf%00",
        "/v1/config/",
        "/v1/other",
        "/",
    ],
)
def test_nothing_but_the_files_of_the_tree_is_there(tmp_path: Path, target: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.install(FILES)
        (bench.disk.root / "current" / "link").symlink_to("/etc/passwd")
        assert (await bench.get(target))[0] == 404

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /v1/config HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /v1/config/key HTTP/1.1\r\n\r\n", 405),
        (b"GET /v1/config\r\n\r\n", 400),
        (b"GET /v1/config HTTP/2\r\n\r\n", 400),
        (b"\xff\xfe\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /" + b"x" * (HEAD_LIMIT + 100) + b" HTTP/1.1\r\n\r\n", 400),
        (b"x" * (3 * HEAD_LIMIT), 400),
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, raw: bytes, status: int) -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.get("", raw=raw))[0] == status

    play(tmp_path, scenario)


def test_a_client_too_many_is_told_so_and_one_who_says_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)

    async def scenario(bench: Bench) -> None:
        silent = [await bench.connect() for _ in range(CLIENTS)]
        await asyncio.sleep(0.1)
        assert (await bench.get("/v1/config"))[0] == 503
        for reader, writer in silent:
            assert await asyncio.wait_for(reader.read(), 20) == b""
            await closed(writer)
        assert (await bench.get("/v1/config"))[0] == 200

    play(tmp_path, scenario)


def test_files_that_are_not_for_everyone_are_for_root_and_the_agents_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_uid", lambda _: 12345)

    async def scenario(bench: Bench) -> None:
        bench.install(FILES)
        assert (await bench.get("/v1/config/key"))[::2] == (403, b"this file is not for everyone\n")
        assert (await bench.get("/v1/config/empty"))[0] == 200

    play(tmp_path, scenario)


def test_the_user_at_the_other_end_is_who_the_kernel_says(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        seen: list[int] = []
        real = module._uid
        bench.install(FILES)
        with pytest.MonkeyPatch.context() as looking:
            looking.setattr(module, "_uid", lambda writer: seen.append(real(writer)) or seen[-1])
            await bench.get("/v1/config/key")
        assert seen == [os.getuid()]

    play(tmp_path, scenario)


def test_a_socket_of_a_life_before_is_replaced_and_a_file_in_its_place_is_not(tmp_path: Path) -> None:
    place = tmp_path / "run" / "config.sock"
    place.parent.mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place))
    left.close()

    async def scenario(bench: Bench) -> None:
        assert (await bench.get("/v1/config"))[0] == 200

    async def refused() -> None:
        bench = Bench(tmp_path)
        await asyncio.wait_for(bench.endpoint.run(), 10)

    async def replaced() -> None:
        bench = Bench(tmp_path)
        serving = asyncio.create_task(bench.endpoint.run())
        await asyncio.sleep(0.2)
        await scenario(bench)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(replaced())
    place.unlink(missing_ok=True)
    place.write_bytes(b"mine")
    asyncio.run(refused())
    assert place.read_bytes() == b"mine"


def test_a_bundle_that_is_lost_is_a_named_error_and_files_are_served_on(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        digest = bench.install(FILES)
        (bench.disk.root / "bundles" / digest).unlink()
        assert (await bench.get("/v1/config"))[::2] == (500, b"BaseModified\n")
        assert (await bench.get("/v1/config/empty"))[0] == 200

    play(tmp_path, scenario)
