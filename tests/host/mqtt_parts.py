"""What the tests of the MQTT link share: links that end with their test, and a broker that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, final

from edgesync.host.mqtt import LinkOptions, MqttLink
from edgesync.sim.profiles import Direction, LinkProfile
from edgesync.sim.proxy import TcpProxy

LIMIT = 20.0
CONNACK, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
KILO = 1024


def options(port: int, name: str = "tester", **changes: Any) -> LinkOptions:
    return LinkOptions("127.0.0.1", port, name, **{"backoff": 0.01, "backoff_limit": 0.05, **changes})


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), LIMIT)

    asyncio.run(limited())


@asynccontextmanager
async def linked(settings: LinkOptions) -> AsyncIterator[MqttLink]:
    link = MqttLink(settings)
    link.start()
    try:
        yield link
    finally:
        await link.stop()


async def event(link: MqttLink, kind: type) -> Any:
    """The next event of a kind; those before it are thrown away."""
    while not isinstance(found := await link.next(), kind):
        pass
    return found


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def proxy_to(port: int, rate: float = 0.0) -> TcpProxy:
    way = Direction(rate, delay=0.0)
    return TcpProxy(LinkProfile("bench", "a link of the tests", "made up", way, way), ("127.0.0.1", port))


@final
class PlayedBroker:
    """Reads a CONNECT and answers with the next of `scripts`, then closes; the last one is for all that follow."""

    def __init__(self, *scripts: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._scripts = list(scripts)
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> PlayedBroker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await reader.read(KILO)
            await script(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the link has ended the connection, or the test is over
        writer.close()


def says(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


def stays(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Says this, and then nothing more while the link stays."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while await reader.read(64 * KILO):
            pass

    return script
