"""A whole fleet on this machine, of real parts: broker, server and boards as processes, each board behind its link.

As root the links are emulated packet by packet in network namespaces, and counted at IP level. Without root each board
reaches the broker through a TCP proxy, which has rate, delay and outages but no packet loss, and counts what TCP
carries. Where mosquitto is not installed the broker is amqtt, which cannot tell boards apart and says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, final

from edgesync.control import scaffold
from edgesync.control.scaffold import Setup
from edgesync.host.mqtt import Tls
from edgesync.sim.broker import AmqttBroker, MosquittoBroker, find_mosquitto, free_port
from edgesync.sim.net import HUB_ADDRESS, Net
from edgesync.sim.profiles import LinkProfile
from edgesync.sim.proxy import ProxyThread
from edgesync.sim.shape import Counters

BROKER_PORT = 8883
STOP_LIMIT = 15.0
"""Seconds between SIGTERM and SIGKILL for the lab's processes."""


@dataclass(frozen=True, slots=True)
class LinkBytes:
    """What a board's link has carried, in bytes. `level` says what is counted: "ip" with every header, or "tcp"
    without headers. Packets that were lost on the air count too: their sender has paid for them. Those that found the
    link away or its queue full never left.
    """

    up: int
    down: int
    level: str

    def since(self, earlier: LinkBytes) -> LinkBytes:
        return LinkBytes(self.up - earlier.up, self.down - earlier.down, self.level)


@final
class Lab:
    """`directory` is absent or empty and gets what `edgesync init` writes; `links` is the profile of each board's link.

    Write the fleet repository between `__enter__` and `start`. Leaving the block ends every process.
    """

    def __init__(self, directory: Path, setup: Setup, links: Mapping[str, LinkProfile]) -> None:
        self.directory = directory
        self.emulated = not Net.unavailable()
        self.broker_name = "mosquitto" if find_mosquitto() else "amqtt"
        port = BROKER_PORT if self.emulated else free_port()
        host = HUB_ADDRESS if self.emulated else "127.0.0.1"
        self._setup = replace(setup, host=host, port=port)
        self._links = dict(links)
        self._stack = ExitStack()
        self._net: Net | None = None
        self._proxies: dict[str, ProxyThread] = {}
        self._namespaces: dict[str, str] = {}
        self.boards: dict[str, subprocess.Popen[bytes]] = {}
        self.server: subprocess.Popen[bytes] | None = None
        self.broker: MosquittoBroker | AmqttBroker

    @property
    def repository(self) -> Path:
        return self.directory / "fleet"

    @property
    def server_config(self) -> Path:
        return self.directory / "server" / "server.toml"

    def __enter__(self) -> Lab:
        scaffold.write(self.directory, self._setup, time.time())
        with ExitStack() as stack:
            if self.emulated:
                self._net = stack.enter_context(Net("edgesync-lab", numbered=True))
            for number, (board, profile) in enumerate(self._links.items()):
                self._attach(stack, board, profile, number)
            self.broker = self._new_broker()
            stack.enter_context(self.broker)
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_server(self) -> None:
        self.server = self._start(None, "server", ["serve", "--config", str(self.server_config)])

    def start_board(self, board: str) -> None:
        """Power on."""
        place = self.directory / "boards" / board
        command = ["board", "run", "--root", str(place / "slots"), "--config", str(place / "agent.toml")]
        self.boards[board] = self._start(self._namespaces.get(board), board, command)

    def power_cut(self, board: str) -> None:
        """The board loses its power and boots again: its agent and workers are killed, no file is closed."""
        self.boards[board].send_signal(signal.SIGUSR1)

    def unplug(self, board: str) -> None:
        if self._net:
            self._net.unplug(board)
        else:
            self._proxies[board].unplug()

    def plug(self, board: str) -> None:
        if self._net:
            self._net.plug(board)
        else:
            self._proxies[board].plug()

    def carried(self, board: str) -> LinkBytes:
        if self._net:
            counters = self._net.counters(board)
            return LinkBytes(_sent(counters.up), _sent(counters.down), "ip")
        proxied = self._proxies[board].counters()
        return LinkBytes(proxied.up, proxied.down, "tcp")

    def log(self, name: str) -> Path:
        """Where the output of "server" or of a board goes."""
        return self.directory / f"{name}.log"

    def popen(self, args: Sequence[str], *, board: str = "", **options: Any) -> subprocess.Popen[bytes]:
        """Start a program where server and broker are, or behind the link of a board."""
        if self._net:
            return self._net.popen(self._namespaces[board] if board else None, args, **options)
        return subprocess.Popen(args, **options)

    def _attach(self, stack: ExitStack, board: str, profile: LinkProfile, number: int) -> None:
        if self._net:
            self._namespaces[board] = self._net.add(board, profile, seed=number + 1).namespace
            return
        target = (self._setup.host, self._setup.port)
        proxy = stack.enter_context(ProxyThread(profile.without_loss(), target, seed=number + 1))
        self._proxies[board] = proxy
        config = self.directory / "boards" / board / "agent.toml"
        config.write_text(config.read_text().replace(f"port = {self._setup.port}", f"port = {proxy.port}"))

    def _new_broker(self) -> MosquittoBroker | AmqttBroker:
        place = self.directory / "broker"
        host, port = self._setup.host, self._setup.port
        if self.broker_name == "mosquitto":
            conf = place / "mosquitto.conf"
            popen = partial(self.popen, env={**os.environ, "OPENSSL_CONF": str(place / "openssl.cnf")})
            return MosquittoBroker(place, host=host, port=port, config=conf, store=place / "store", popen=popen)
        tls = Tls(*(str(place / name) for name in ("ca.crt", "tls.crt", "tls.key")))
        return AmqttBroker(place, host=host, port=port, tls=tls, popen=self.popen)

    def _start(self, namespace: str | None, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "edgesync.cli.main", *command]
        # A session of its own: Ctrl-C reaches the lab, and the lab ends its parts in order.
        with self.log(name).open("ab") as log:
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            if self._net:
                return self._net.popen(namespace, argv, start_new_session=True, **options)
            return subprocess.Popen(argv, start_new_session=True, **options)

    def _stop(self) -> None:
        processes = [*self.boards.values(), *([self.server] if self.server else [])]
        for process in processes:
            process.terminate()
        end = time.monotonic() + STOP_LIMIT
        for process in processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _sent(way: Counters) -> int:
    return way.offered.bytes - way.overflow.bytes - way.outage.bytes - way.cut.bytes
