"""Bad links without root: a TCP proxy that is slow, stalls, resets connections and goes silent.

What it has: rate, delay, jitter, outages, resets, half-open connections; all connections share the one link.
What it cannot have is packet loss, for TCP hides it; a profile with loss is refused (`profile.without_loss()` says
that one knows). Recovery from loss, congestion control and bytes at IP level need edgesync.sim.net.

`TcpProxy` lives in an event loop; `ProxyThread` brings its own, for tests and programs without one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, final

from edgesync.sim.lane import Lane, LinkClock, together
from edgesync.sim.profiles import IP_TCP_HEADERS, LinkProfile, Outage
from edgesync.wire.errors import ConfigError, NotReachableError

CONNECTION_LIMIT = 1024
CONNECT_TIMEOUT = 10.0
"""Seconds for the proxy to reach its target."""
THREAD_TIMEOUT = 10.0
"""Seconds for a ProxyThread to start, to stop and to answer."""
KERNEL_BUFFER = 4096
"""Bytes asked of the kernel for each socket of a link with a rate: with more, the kernel hides the rate."""

Address = tuple[str, int]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ProxyCounters:
    """TCP payload bytes that arrived each way (not IP packets), and connections: `open` now, `accepted` and `reset`
    since the start.
    """

    down: int = 0
    up: int = 0
    open: int = 0
    accepted: int = 0
    reset: int = 0


class _Connection:
    """One connection through the link: a socket to whoever came, and one to the target."""

    def __init__(self, proxy: TcpProxy, near: socket.socket) -> None:
        self._proxy = proxy
        self._near = near
        self._far = socket.socket(proxy.family)
        proxy.fit(near)
        proxy.fit(self._far)
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        proxy, loop = self._proxy, asyncio.get_running_loop()
        try:
            # The kernel has accepted at once; over the link that takes a round trip.
            await proxy.clock.until(proxy.clock.now() + proxy.profile.round_trip)
            await asyncio.wait_for(loop.sock_connect(self._far, proxy.target), CONNECT_TIMEOUT)
            await together(proxy.down.carry(self._far, self._near), proxy.up.carry(self._near, self._far))
        except (OSError, asyncio.TimeoutError):  # one end broke it: so does the link, towards the other
            self.reset()

    def reset(self) -> None:
        """End it with a reset both ways."""
        for end in (self._near, self._far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._near.close()
        self._far.close()


@final
class TcpProxy:
    """A link of `profile` in front of `target`.

    It listens at `listen` (port 0: a free one), or on `listener`, a listening socket that it then owns. Raises
    ConfigError for a profile that loses packets, OSError where the port cannot be had.
    """

    def __init__(
        self,
        profile: LinkProfile,
        target: Address,
        listen: Address = ("127.0.0.1", 0),
        *,
        seed: int = 1,
        listener: socket.socket | None = None,
    ) -> None:
        if profile.loses_packets:
            raise ConfigError(
                f"link {profile.name!r} loses packets, which a TCP proxy cannot do; "
                "use an emulated link (needs root), or the profile without its loss"
            )
        self.profile = profile
        self.target = target
        self._listener = listener or socket.create_server(listen)
        self._seed = seed
        self._connections: dict[_Connection, None] = {}
        self._orphans: list[_Connection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._accepted = self._reset = 0

    @property
    def port(self) -> int:
        """The local port."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET

    async def __aenter__(self) -> TcpProxy:
        loop = asyncio.get_running_loop()
        self.clock = LinkClock(loop.time)
        self.down = Lane(self.profile, "down", self._seed, self.clock)
        self.up = Lane(self.profile, "up", self._seed, self.clock)
        self._listener.setblocking(False)
        self.fit(self._listener)
        self._tasks.append(loop.create_task(self._accept()))
        if self.profile.reset_every:
            self._tasks.append(loop.create_task(self._reset_again_and_again(self.profile.reset_every)))
        if self.profile.outage:
            self._tasks.append(loop.create_task(self._go_out(self.profile.outage)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset_all()
        tasks = [*self._tasks, *(c.task for c in self._connections)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    def counters(self) -> ProxyCounters:
        live = len(self._connections) + len(self._orphans)
        return ProxyCounters(self.down.arrived, self.up.arrived, live, self._accepted, self._reset)

    def reset_all(self) -> None:
        """End every connection with a reset both ways; new ones work at once."""
        self._reset += len(self._connections) + len(self._orphans)
        for connection in [*self._connections, *self._orphans]:
            connection.reset()
            connection.task.cancel()
        for orphan in self._orphans:
            orphan.close()
        self._orphans.clear()

    def stall(self) -> None:
        """Nothing moves, and every connection lives."""
        self.clock.hold("stall")

    def resume(self) -> None:
        self.clock.release("stall")

    def unplug(self) -> None:
        """Every connection becomes half-open for good: neither end hears of the other again, not even of its end.
        New ones wait in silence for `plug`. So it is when a modem comes back with another address.
        """
        self.clock.hold("unplugged")
        for connection in list(self._connections):
            self._orphans.append(connection)
            connection.task.cancel()

    def plug(self) -> None:
        self.clock.release("unplugged")

    def fit(self, sock: socket.socket) -> None:
        """Make a socket as small as the link, so that the kernel's buffers do not stand in for it."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.profile.down.rate or self.profile.up.rate:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self.profile.mtu - IP_TCP_HEADERS)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            if len(self._connections) + len(self._orphans) >= CONNECTION_LIMIT:
                near.close()
                continue
            self._accepted += 1
            connection = _Connection(self, near)
            self._connections[connection] = None
            connection.task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: _Connection, _: asyncio.Task[None]) -> None:
        del self._connections[connection]
        if connection not in self._orphans:
            connection.close()

    async def _reset_again_and_again(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self.reset_all()

    async def _go_out(self, outage: Outage) -> None:
        while True:
            await asyncio.sleep(outage.period - outage.length)
            self.clock.hold("outage")
            await asyncio.sleep(outage.length)
            self.clock.release("outage")


@final
class ProxyThread:
    """A TcpProxy in a thread with its own loop; the same arguments and the same faults, callable from any thread."""

    def __init__(self, profile: LinkProfile, target: Address, **options: Any) -> None:
        self._proxy = TcpProxy(profile, target, **options)
        self.port = self._proxy.port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"link-{profile.name}", daemon=True)

    def __enter__(self) -> ProxyThread:
        self._thread.start()
        if not self._ready.wait(THREAD_TIMEOUT):
            raise NotReachableError(f"the proxy's thread did not start within {THREAD_TIMEOUT:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(THREAD_TIMEOUT)

    def counters(self) -> ProxyCounters:
        return self._call(self._proxy.counters)

    def reset_all(self) -> None:
        self._call(self._proxy.reset_all)

    def stall(self) -> None:
        self._call(self._proxy.stall)

    def resume(self) -> None:
        self._call(self._proxy.resume)

    def unplug(self) -> None:
        self._call(self._proxy.unplug)

    def plug(self) -> None:
        self._call(self._proxy.plug)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with self._proxy:
            self._ready.set()
            await self._stop.wait()

    def _call(self, function: Callable[[], _T]) -> _T:
        async def call() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(THREAD_TIMEOUT)
