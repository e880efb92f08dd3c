"""A real broker as a process: for tests, the demo and the bench.

`MosquittoBroker` is what production runs. `AmqttBroker` is for machines where mosquitto cannot be installed; with it,
broker identity is off, and it says so. Both start, stop, die and come back the same way.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgesync.host.mqtt import Tls
from edgesync.wire.errors import NotReachableError

if TYPE_CHECKING:
    from typing_extensions import Self

START_LIMIT = 30.0
"""Seconds from the start of the process until it must accept connections; a loaded machine needs several."""
STOP_LIMIT = 10.0
"""Seconds from SIGTERM to SIGKILL; mosquitto writes its store in between."""
AMQTT_NOTICE = (
    "amqtt instead of mosquitto: broker identity is OFF. Any client can read and publish anything; signatures still "
    "protect the boards, nothing protects the broker."
)

_LOG_TAIL = 2000

_PROBE = """\
import socket, sys, time
host, port, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
while True:
    try:
        socket.create_connection((host, port), 1).close()
        break
    except OSError:
        if time.monotonic() > until:
            sys.exit(1)
        time.sleep(0.05)
"""


class Popen(Protocol):
    """`subprocess.Popen`, or a function that starts the program elsewhere, say inside a network namespace."""

    def __call__(self, args: Sequence[str], **options: Any) -> subprocess.Popen[bytes]: ...


def here(args: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """The `Popen` that starts the program where we are."""
    return subprocess.Popen(args, **options)


def find_mosquitto() -> Path | None:
    """The mosquitto program, also where Debian puts it and an ordinary user's PATH does not look."""
    found = shutil.which(
        "mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )
    return Path(found) if found else None


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port


class _Broker:
    """One broker process: its life, whichever program it is."""

    name: str
    identity: bool
    """Whether the broker can hold each client to its own identity."""

    def __init__(self, directory: Path, host: str, port: int, popen: Popen) -> None:
        self.host = host
        self.port = port
        self._directory = directory
        self._log = directory / f"{self.name}.log"
        self._popen = popen
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start and wait until it accepts connections. Raises NotReachableError with the end of its log."""
        if self._process:
            raise NotReachableError(f"{self.name} runs already, as process {self._process.pid}; stop it first")
        with self._log.open("ab") as log:
            self._process = self._popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            probe = self._popen([sys.executable, "-c", _PROBE, self.host, str(self.port), str(START_LIMIT)])
        except BaseException:
            self.kill()
            raise
        try:
            while probe.poll() is None and self._process.poll() is None:
                time.sleep(0.02)
            accepts = probe.poll() == 0 and self._process.poll() is None
        finally:
            probe.kill()
            probe.wait()
        if not accepts:
            code = self._process.poll()
            why = "accepts no connection" if code is None else f"ended with status {code}"
            self.kill()
            raise NotReachableError(f"{self.name} on {self.host}:{self.port} {why}; its log ends: {self.log_tail()}")

    def stop(self) -> None:
        """End it as an operator would, its store written; SIGKILL if it does not end in time."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                pass  # kill() follows
        self.kill()

    def kill(self) -> None:
        """SIGKILL, nothing written. Does nothing when it does not run."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self, *, empty: bool = False) -> None:
        """Stop and start; `empty`: it comes back without retained messages and sessions, as after a lost disk."""
        self.stop()
        if empty:
            self._forget()
        self.start()

    def log_tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LOG_TAIL))
            return log.read().decode(errors="replace").strip()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _forget(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class MosquittoBroker(_Broker):
    """mosquitto, plain and open to everyone on `host`, or with the configuration file `config`, whose listener is
    then at `host` and `port`. `store` is the directory of its persistent store.

    Raises NotReachableError where mosquitto is not installed.
    """

    name = "mosquitto"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        config: Path | None = None,
        store: Path | None = None,
        popen: Popen = here,
    ) -> None:
        super().__init__(directory, host, port or free_port(), popen)
        program = find_mosquitto()
        if program is None:
            raise NotReachableError("mosquitto: not found on PATH nor in /usr/sbin; install it, or use amqtt")
        self._program = program
        self._store = store or directory / "store"
        self._config = config or directory / "mosquitto.conf"
        self.identity = config is not None
        if config is None:
            self._store.mkdir(exist_ok=True)
            self._config.write_text(_plain_config(self.host, self.port, self._store))

    def _command(self) -> list[str]:
        return [str(self._program), "-c", str(self._config)]

    def _forget(self) -> None:
        (self._store / "mosquitto.db").unlink(missing_ok=True)


class AmqttBroker(_Broker):
    """amqtt in a process of its own; with `tls` it shows that certificate, but asks no client for one.

    It keeps nothing on disk: a restart always comes back empty. `notice` is what to tell the user.
    """

    name = "amqtt"
    identity = False
    notice = AMQTT_NOTICE

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        tls: Tls | None = None,
        popen: Popen = here,
    ) -> None:
        super().__init__(directory, host, port or free_port(), popen)
        self._tls = tls

    def _command(self) -> list[str]:
        files = [self._tls.ca, self._tls.cert, self._tls.key] if self._tls else []
        return [sys.executable, "-m", "edgesync.sim.amqtt_broker", self.host, str(self.port), *files]

    def _forget(self) -> None:
        """There is nothing on disk to forget."""


def _plain_config(host: str, port: int, store: Path) -> str:
    lines = [
        f"listener {port} {host}",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {store}/",
        "set_tcp_nodelay true",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it becomes the user mosquitto, who may not write to this directory
    return "\n".join(lines) + "\n"
