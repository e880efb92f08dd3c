"""Boards behind bad links, as network namespaces: a hub, one namespace a board, and an emulated link between the two.

    with Net("demo") as net:
        end = net.add("b1", profiles.load("narrow-32k"))
        broker = net.popen(None, ["mosquitto", "-c", conf])          # at the hub, end.hub_address
        agent = net.popen(end.namespace, ["edgesync", "agent", ...])  # behind the link
        net.unplug("b1"); net.plug("b1"); net.counters("b1").down.delivered.bytes

Nothing of this machine's network is touched: addresses (10.77.0.0/16) exist in the namespaces only, and no namespace
has a way out. Leaving the block ends every process inside and removes every namespace; what a killed run left behind
is removed when the next one with the same prefix starts.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, final

from edgesync.sim.profiles import LinkProfile
from edgesync.sim.shape import Counters
from edgesync.sim.tun import TUN_PATH, enter_namespace
from edgesync.wire.errors import ConfigError, NotReachableError

HUB_ADDRESS = "10.77.0.1"
BOARD_LIMIT = 1000
NUMBER_LIMIT = 64
NAMESPACES = "/run/netns"
ANSWER_TIMEOUT = 10.0
"""Seconds until the emulator counts as dead."""
STOP_TIMEOUT = 5.0
"""Seconds between SIGTERM and SIGKILL for the programs that run inside."""

_SEPARATOR = "_"  # in no name, so that one prefix is never the beginning of another
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a board lives: its namespace and address, and the address at which it finds the hub."""

    namespace: str
    address: str
    hub_address: str


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Both directions of one link at IP level."""

    down: Counters
    up: Counters

    def to_dict(self) -> dict[str, Any]:
        return {"down": self.down.to_dict(), "up": self.up.to_dict()}


@final
class Net:
    """`prefix` names this network on the machine, and `numbered` adds the first number that is free, for programs that
    may run at the same time. `congestion` is a TCP congestion control for all ends, "" for the machine's own.

    Every method raises NotReachableError if the emulator or `ip` fails, ConfigError for names and values that
    cannot be; a board that was never added is a KeyError. Methods may be called from any thread.
    """

    def __init__(self, prefix: str, congestion: str = "", *, numbered: bool = False) -> None:
        self._prefix = _checked(prefix, "prefix")
        self._numbered = numbered
        self._congestion = congestion
        self._ends: dict[str, Endpoint] = {}
        self._programs: list[subprocess.Popen[Any]] = []
        self._stack = ExitStack()
        self._lock = threading.Lock()

    @staticmethod
    def unavailable() -> str:
        """What is missing to run this here, as a sentence; "" if nothing is."""
        if not sys.platform.startswith("linux"):
            return f"emulated links need Linux, this is {sys.platform}"
        if os.geteuid() != 0:
            return "emulated links need root (network namespaces); use the proxy without"
        if not os.access(TUN_PATH, os.R_OK | os.W_OK):
            return f"{TUN_PATH} is missing or cannot be opened; load the kernel module tun"
        if not shutil.which("ip"):
            return "the command ip is missing; install iproute2"
        return ""

    @property
    def hub(self) -> str:
        """The hub's namespace."""
        return f"{self._prefix}{_SEPARATOR}hub"

    def __enter__(self) -> Net:
        if reason := self.unavailable():
            raise NotReachableError(reason)
        with ExitStack() as stack:
            self._prefix = stack.enter_context(_claim(self._prefix, numbered=self._numbered))
            _remove_all(self._prefix)
            stack.callback(_remove_all, self._prefix)
            self._emulator = subprocess.Popen(
                [sys.executable, "-m", "edgesync.sim.tun"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            stack.callback(self._stop_emulator)
            _make_namespace(self.hub)
            _ip(self.hub, f"addr add {HUB_ADDRESS}/32 dev lo")
            stack.callback(self._stop_programs)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C waits until everything is gone: what stays behind is hard to find by hand.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._stack.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def add(self, board: str, profile: LinkProfile, seed: int = 1) -> Endpoint:
        """A namespace for `board` with a link of that profile to the hub; chance on it follows `seed`."""
        number = len(self._ends)
        if board == "hub" or board in self._ends or number >= BOARD_LIMIT:
            raise ConfigError(
                f"board {board!r}: expected a name that is free, not 'hub', and at most {BOARD_LIMIT} boards"
            )
        namespace = f"{self._prefix}{_SEPARATOR}{_checked(board, 'board')}"
        end = Endpoint(namespace, f"10.77.{1 + number // 250}.{1 + number % 250}", HUB_ADDRESS)
        _make_namespace(end.namespace)
        self._ask(
            "add",
            board,
            hub_namespace=os.path.join(NAMESPACES, self.hub),
            board_namespace=os.path.join(NAMESPACES, end.namespace),
            hub_address=HUB_ADDRESS,
            hub_device=f"es{number}",
            board_device="es0",
            profile=profile.to_dict(),
            seed=seed,
        )
        self._ends[board] = end
        self._configure(self.hub, f"es{number}", HUB_ADDRESS, end.address, profile.mtu)
        self._configure(end.namespace, "es0", end.address, HUB_ADDRESS, profile.mtu)
        return end

    def popen(self, namespace: str | None, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a namespace (None: the hub's). `pid` is the program's own; options are Popen's."""
        program = subprocess.Popen(["ip", "netns", "exec", namespace or self.hub, *argv], **options)
        self._programs = [p for p in self._programs if p.poll() is None]
        self._programs.append(program)
        return program

    def listen(self, port: int) -> socket.socket:
        """A listening TCP socket at the hub's address that belongs to this process, outside: the way for something on
        this machine to be reached over the links. Raises OSError where the port is taken.
        """

        def inside() -> socket.socket:
            with open(os.path.join(NAMESPACES, self.hub), "rb") as namespace:
                enter_namespace(namespace.fileno())
            return socket.create_server((HUB_ADDRESS, port))

        # Only the thread that makes the socket moves into the namespace, and it ends there.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(inside).result()

    def counters(self, board: str) -> LinkCounters:
        answer = self._ask("counters", board)
        return LinkCounters(Counters.from_dict(answer["down"]), Counters.from_dict(answer["up"]))

    def unplug(self, board: str) -> None:
        """From now on nothing passes and nobody is told; what is on its way is lost."""
        self._ask("unplug", board)

    def plug(self, board: str) -> None:
        """The end of `unplug`, and of `cut`."""
        self._ask("plug", board)

    def cut(self, board: str, seconds: float) -> None:
        """Unplugged for so long."""
        self._ask("cut", board, seconds=seconds)

    def reset(self, board: str) -> None:
        """What is on its way is lost, and the carrier ends all TCP connections with a reset at both ends. New ones work
        at once.
        """
        self._ask("reset", board)

    def set_profile(self, board: str, profile: LinkProfile) -> None:
        """The link is like this from the next packet on. A change of loss does not restart chance."""
        number = list(self._ends).index(board)
        self._ask("change", board, profile=profile.to_dict())
        _ip(self.hub, f"link set es{number} mtu {profile.mtu}")
        _ip(self._ends[board].namespace, f"link set es0 mtu {profile.mtu}")

    def _configure(self, namespace: str, device: str, own: str, peer: str, mtu: int) -> None:
        congestion = f" congctl {self._congestion}" if self._congestion else ""
        _ip(
            namespace,
            f"link set {device} addrgenmode none",  # the link carries no IPv6, so nobody shall try it
            f"addr add {own} peer {peer}/32 dev {device}",
            f"link set {device} mtu {mtu} up",
            f"route replace {peer}/32 dev {device} src {own}{congestion}",
        )

    def _ask(self, operation: str, board: str, **details: Any) -> Any:
        if operation != "add" and board not in self._ends:
            raise KeyError(board)
        line = json.dumps({"op": operation, "link": board, **details}).encode() + b"\n"
        with self._lock:
            assert self._emulator.stdin is not None
            try:
                self._emulator.stdin.write(line)
            except BrokenPipeError as error:
                raise NotReachableError("the link emulator has ended; its output says why") from error
            answer = self._answer()
        if "error" in answer:
            raise NotReachableError(f"link emulator, {operation} {board!r}: {answer['error']}")
        return answer["ok"]

    def _answer(self) -> Mapping[str, Any]:
        assert self._emulator.stdout is not None
        descriptor = self._emulator.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        line, end = b"", time.monotonic() + ANSWER_TIMEOUT
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise NotReachableError(f"the link emulator gave no answer within {ANSWER_TIMEOUT:.0f} s")
            data = os.read(descriptor, 65536)
            if not data:
                raise NotReachableError("the link emulator has ended; its output says why")
            line += data
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def _stop_emulator(self) -> None:
        assert self._emulator.stdin is not None
        assert self._emulator.stdout is not None
        self._emulator.stdin.close()
        try:
            self._emulator.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._emulator.kill()
            self._emulator.wait()
        self._emulator.stdout.close()

    def _stop_programs(self) -> None:
        """Ask the programs that `popen` started to end, then insist. Their children end with the namespaces."""
        for program in self._programs:
            program.terminate()
        end = time.monotonic() + STOP_TIMEOUT
        for program in self._programs:
            try:
                program.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


@contextmanager
def _claim(prefix: str, *, numbered: bool) -> Iterator[str]:
    """One network a prefix at a time: removing another run's leftovers must not remove another run.

    The lock is an abstract socket address: the kernel gives it back however the process ends.
    """
    candidates = [f"{prefix}-{n}" for n in range(NUMBER_LIMIT)] if numbered else [prefix]
    for candidate in candidates:
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                lock.bind(f"\0edgesync-net-{candidate}")
            except OSError:
                continue  # another run holds it
            yield candidate
            return
    raise NotReachableError(f"a network with prefix {candidates[-1]!r} is running; end it or choose another prefix")


def _remove_all(prefix: str) -> None:
    """End every process in the namespaces of that prefix, and delete them."""
    names = [n for n in _listed() if n.startswith(prefix + _SEPARATOR)]
    for name in names:
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in pids.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself in between
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _listed() -> list[str]:
    return sorted(os.listdir(NAMESPACES)) if os.path.isdir(NAMESPACES) else []


def _make_namespace(name: str) -> None:
    _run(["ip", "netns", "add", name])
    _ip(name, "link set lo up")


def _ip(namespace: str, *commands: str) -> None:
    _run(["ip", "-n", namespace, "-batch", "-"], "".join(f"{c}\n" for c in commands))


def _run(argv: Sequence[str], text: str = "") -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotReachableError(f"{' '.join(argv)} failed on {text!r}: {done.stderr.strip()[:300]}")


def _checked(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{what} {name!r}: expected at most 64 of [a-z0-9.-], not beginning or ending with a sign")
    return name
