"""The link emulator: one process that carries real IP packets between TUN devices, for many links at once.

    python -m edgesync.sim.tun      needs root; standard library only; started and led by edgesync.sim.net

Each link is a TUN device in the hub's network namespace and one in the board's. What the kernel sends into one is
shaped and comes out of the other, so TCP, TLS and the broker over it are the real ones. Bytes are counted here, at IP
level with all headers: this is the project's measure of what an update costs.

    request > stdin     one JSON object a line: {"op": ..., "link": ..., ...}
    answer  > stdout    {"ok": ...} or {"error": "..."}, one line for each request

The end of stdin is the end of the process, and with it of all its devices: a killed parent leaves nothing running.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesync.sim.nat import ConnectionTable
from edgesync.sim.profiles import LinkProfile
from edgesync.sim.shape import Drop, Shaper
from edgesync.wire.errors import ConfigError

TUN_PATH = "/dev/net/tun"
REQUEST_LIMIT = 64 * 1024
BATCH = 64
"""Packets read from one device before the others get their turn."""
IDLE = 1.0
"""Seconds: the longest sleep of the loop."""

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_STDIN = 0


@dataclass(slots=True)
class Pipe:
    """One direction: its decisions, the packets under way (in order of arrival), and the device that they leave by."""

    shaper: Shaper
    exit: int
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def offer(self, packet: bytes, now: float) -> None:
        due = self.shaper.offer(len(packet), now)
        if not isinstance(due, Drop):
            self.under_way.append((due, packet))

    def take(self, now: float) -> list[bytes]:
        """The packets that have arrived."""
        arrived = []
        while self.under_way and self.under_way[0][0] <= now:
            arrived.append(self.under_way.popleft()[1])
        return arrived

    def hand_over(self, packet: bytes) -> None:
        try:
            os.write(self.exit, packet)
        except OSError:  # the device is down or its queue is full: the packet is lost behind the link
            self.shaper.abandoned(len(packet))
        else:
            self.shaper.delivered(len(packet))

    def clear(self, now: float) -> None:
        for _, packet in self.under_way:
            self.shaper.abandoned(len(packet))
        self.under_way.clear()
        self.shaper.flush(now)


@dataclass(slots=True)
class Link:
    profile: LinkProfile
    hub: int
    hub_address: bytes
    board: int
    down: Pipe
    up: Pipe
    table: ConnectionTable
    next_reset: float

    def from_hub(self, packet: bytes, now: float) -> None:
        """A packet that the hub sent. What the carrier does not know never reaches the link and is not counted."""
        answer = self.table.check(packet)
        if answer is None:
            self.down.offer(packet, now)
        elif answer:
            self._tell_hub(answer)

    def from_board(self, packet: bytes, now: float) -> None:
        """A packet that has crossed the link upwards. The carrier's answer crosses it back like any other packet."""
        answer = self.table.check(packet)
        if answer is None:
            self.table.arrived(packet)
            self.up.hand_over(packet)
            return
        self.up.shaper.delivered(len(packet))
        if answer:
            self.down.offer(answer, now)

    def move(self, now: float) -> None:
        if now >= self.next_reset:
            self.reset(now)
            self.next_reset = now + self.profile.reset_every
        for packet in self.down.take(now):
            self.table.arrived(packet)
            self.down.hand_over(packet)
        for packet in self.up.take(now):
            self.from_board(packet, now)

    def due(self) -> float:
        """The next time at which `move` has something to do."""
        return min([self.next_reset, *(pipe.under_way[0][0] for pipe in (self.down, self.up) if pipe.under_way)])

    def reset(self, now: float) -> None:
        """As when a modem changes its cell: queues are thrown away, and the carrier ends every connection both ways."""
        self.down.clear(now)
        self.up.clear(now)
        for answer in self.table.forget():
            if answer[16:20] == self.hub_address:
                self._tell_hub(answer)
            else:
                self.down.offer(answer, now)

    def become(self, profile: LinkProfile, now: float) -> None:
        self.profile = profile
        self.down.shaper.change(profile.down, profile.outage)
        self.up.shaper.change(profile.up, profile.outage)
        self.next_reset = now + profile.reset_every if profile.reset_every else float("inf")

    def _tell_hub(self, answer: bytes) -> None:
        try:
            os.write(self.hub, answer)
        except OSError:  # the device is down: the hub hears nothing, as with a carrier that stays silent
            pass


class Emulator:
    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._readers: dict[int, tuple[Link, bool]] = {}
        self._poll = select.epoll()
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._request = b""

    def run(self) -> None:
        """Carry packets and answer requests until stdin ends."""
        os.set_blocking(_STDIN, False)
        self._poll.register(_STDIN, select.EPOLLIN)
        while True:
            now = time.monotonic()
            due = min((link.due() for link in self._links.values()), default=now + IDLE)
            ready = self._poll.poll(min(max(0.0, due - now), IDLE))
            now = time.monotonic()
            for descriptor, _ in ready:
                if descriptor != _STDIN:
                    self._read_packets(descriptor, now)
                elif not self._read_requests(now):
                    return
            for link in self._links.values():
                link.move(now)

    def _read_packets(self, descriptor: int, now: float) -> None:
        link, is_hub = self._readers[descriptor]
        for _ in range(BATCH):
            try:
                packet = os.read(descriptor, 65536)
            except BlockingIOError:
                return
            except OSError:  # its namespace was deleted: the device is gone for good
                self._poll.unregister(descriptor)
                return
            if packet[0] >> 4 != 4:
                continue  # only IPv4 crosses the link
            if is_hub:
                link.from_hub(packet, now)
            else:
                link.up.offer(packet, now)

    def _read_requests(self, now: float) -> bool:
        """False at the end of stdin."""
        data = os.read(_STDIN, REQUEST_LIMIT)
        self._request += data
        *lines, self._request = self._request.split(b"\n")
        for line in lines:
            try:
                answer: dict[str, Any] = {"ok": self._perform(json.loads(line), now)}
            except (OSError, ConfigError, KeyError, ValueError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(1, json.dumps(answer).encode() + b"\n")
        return bool(data) and len(self._request) <= REQUEST_LIMIT

    def _perform(self, request: Mapping[str, Any], now: float) -> Any:
        operation, name = request["op"], request["link"]
        if operation == "add":
            return self._add(name, request, now)
        link = self._links[name]
        if operation == "counters":
            return {"down": link.down.shaper.counters().to_dict(), "up": link.up.shaper.counters().to_dict()}
        if operation == "change":
            return link.become(LinkProfile.from_dict(request["profile"]), now)
        if operation == "reset":
            return link.reset(now)
        if operation == "remove":
            return self._remove(name)
        for pipe in (link.down, link.up):
            if operation == "plug":
                pipe.shaper.plug()
            elif operation == "unplug":
                pipe.shaper.unplug()
                pipe.clear(now)
            elif operation == "cut":
                pipe.shaper.cut(now + request["seconds"])
                pipe.clear(now)
            else:
                raise ValueError(f"unknown operation {operation!r}")
        return None

    def _add(self, name: str, request: Mapping[str, Any], now: float) -> None:
        if name in self._links:
            raise ValueError(f"there is a link {name!r} already")
        profile = LinkProfile.from_dict(request["profile"])
        hub = self._open_device(request["hub_namespace"], request["hub_device"])
        try:
            board = self._open_device(request["board_namespace"], request["board_device"])
        except OSError:
            os.close(hub)
            raise
        down = Pipe(Shaper(profile.down, profile.outage, f"{request['seed']}/down", now), board)
        up = Pipe(Shaper(profile.up, profile.outage, f"{request['seed']}/up", now), hub)
        link = Link(profile, hub, socket.inet_aton(request["hub_address"]), board, down, up, ConnectionTable(), 0.0)
        link.become(profile, now)
        self._links[name] = link
        for descriptor in (hub, board):
            self._readers[descriptor] = (link, descriptor == hub)
            self._poll.register(descriptor, select.EPOLLIN)

    def _remove(self, name: str) -> None:
        link = self._links.pop(name)
        for descriptor in (link.hub, link.board):
            del self._readers[descriptor]
            os.close(descriptor)  # which also takes it out of the poll set

    def _open_device(self, namespace: str, device: str) -> int:
        """Make a TUN device in the namespace that is mounted at a path. It lives as long as its descriptor."""
        target = os.open(namespace, os.O_RDONLY)
        try:
            enter_namespace(target)
            descriptor = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK)
            try:
                request = struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI)
                fcntl.ioctl(descriptor, _TUNSETIFF, request)
            except OSError:
                os.close(descriptor)
                raise
        finally:
            os.close(target)
            enter_namespace(self._home)
        return descriptor


def enter_namespace(namespace: int) -> None:
    """Move the calling thread into the network namespace behind a descriptor. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}")


def main() -> None:
    # Ctrl-C goes to the whole foreground group; the parent still wants counters and ends this process by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Emulator().run()


if __name__ == "__main__":
    main()
