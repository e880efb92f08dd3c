"""One direction of a proxied link: a stream of bytes that takes its time, and the clock on which it does.

Unlike a packet link it may not drop anything: what has no room waits at the sender.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from edgesync.sim.profiles import IP_TCP_HEADERS, LinkProfile
from edgesync.sim.shape import Drop, Shaper

UNDER_WAY_LIMIT = 4 << 20
"""Bytes of one connection and direction that are held at most."""
LARGE_SEGMENT = 64 * 1024
"""Bytes read at once where there is no rate; where there is one, a full TCP segment."""


class LinkClock:
    """Time on the link, in seconds: it stands still while anything holds it, and so does all that is on its way."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._stood = 0.0
        self._held_at = 0.0
        self._holders: set[str] = set()
        self._running = asyncio.Event()
        self._running.set()

    def now(self) -> float:
        return (self._held_at if self._holders else self._time()) - self._stood

    def hold(self, holder: str) -> None:
        if not self._holders:
            self._held_at = self._time()
            self._running.clear()
        self._holders.add(holder)

    def release(self, holder: str) -> None:
        if holder in self._holders:
            self._holders.remove(holder)
            if not self._holders:
                self._stood += self._time() - self._held_at
                self._running.set()

    async def until(self, due: float) -> None:
        """Wait until the link's time is `due`, and the link runs."""
        while True:
            await self._running.wait()
            if (left := due - self.now()) <= 0:
                return
            await asyncio.sleep(left)


class Lane:
    """One direction, shared by all connections. What is full here holds its sender back and drops nothing."""

    def __init__(self, profile: LinkProfile, name: Literal["down", "up"], seed: int, clock: LinkClock) -> None:
        way = profile.down if name == "down" else profile.up
        self.arrived = 0  # bytes of payload
        self._clock = clock
        # In an outage the clock stands still, so the shaper knows nothing of outages.
        self._shaper = Shaper(way, None, f"{seed}/{name}", clock.now())
        self._segment = profile.mtu - IP_TCP_HEADERS if way.rate else LARGE_SEGMENT
        self._pause = profile.mtu * 8 / way.rate if way.rate else 0.01

    async def carry(self, source: socket.socket, target: socket.socket) -> None:
        """Everything from one socket to the other, the end of the stream included."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY_LIMIT // self._segment)
        held = 0

        async def enter() -> None:
            nonlocal held
            data = b"?"
            while data:
                data = await loop.sock_recv(source, self._segment)
                due = await self._enter(len(data) + IP_TCP_HEADERS)
                held += len(data) + IP_TCP_HEADERS
                await under_way.put((due, data))

        async def leave() -> None:
            nonlocal held
            data = b"?"
            while data:
                due, data = await under_way.get()
                await self._clock.until(due)
                await loop.sock_sendall(target, data)
                self._shaper.delivered(len(data) + IP_TCP_HEADERS)
                held -= len(data) + IP_TCP_HEADERS
                self.arrived += len(data)
            target.shutdown(socket.SHUT_WR)

        try:
            await together(enter(), leave())
        finally:
            self._shaper.abandoned(held)

    async def _enter(self, length: int) -> float:
        """Wait for room on the link; the time at which the segment arrives."""
        while True:
            await self._clock.until(self._clock.now())
            if self._shaper.has_room(length, self._clock.now()):
                due = self._shaper.offer(length, self._clock.now())
                assert not isinstance(due, Drop)
                return due
            await asyncio.sleep(self._pause)


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run until all are done; the first that fails, or a cancellation, ends the others."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
