"""A trigger on memory pressure: the kernel says so by itself when tasks wait for memory for long enough.

The trigger is one open file that becomes ready for POLLPRI, which asyncio's loop does not know: an epoll of its own
carries it into the loop. Kernels without PSI, and those that refuse a trigger to this user, give None; who asked looks
by itself then.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable

WINDOW = 2_000_000
"""Microseconds; unprivileged users may only ask for whole multiples of 2 s."""


class Trigger:
    """Calls back in the running loop, at most once in a window, until it is closed."""

    def __init__(self, fd: int, call: Callable[[], None]) -> None:
        self._fd, self._call = fd, call
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLPRI)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._ready)
        self.closed = False

    def close(self) -> None:
        """Also a second time."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        os.close(self._fd)

    def _ready(self) -> None:
        for _, events in self._epoll.poll(0):
            if events & select.EPOLLERR:  # the cgroup is gone
                self.close()
                break
        self._call()


def trigger(path: str, stall: int, call: Callable[[], None]) -> Trigger | None:
    """Call `call` when some task waited for memory for `stall` microseconds of WINDOW. None where that is refused."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.write(fd, f"some {stall} {WINDOW}\0".encode())
        return Trigger(fd, call)
    except OSError:
        os.close(fd)
        return None
