"""Power, boot loader and init of one played board, in a process of its own.

    starts            the board boots: new boot id, slot by the boot environment, agent as child
    reboot request    (`FilesBackend.reboot`) the agent gets SIGTERM, then SIGKILL; the board boots again
    SIGUSR1           power cut: SIGKILL for the agent, the board boots again
    agent dies        restarted with the same boot id after a growing pause, as systemd would; after too many quick
                      deaths in a row the board boots again, as a watchdog would make it
    SIGTERM, SIGINT   the agent is stopped, then this process
    SIGKILL           also a power cut: the kernel kills the agent with us, and the next supervisor boots anew

The agent knows nothing of this process: they meet only in the boot environment's files and the reboot request.
"""

from __future__ import annotations

import ctypes
import fcntl
import math
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Literal

from edgesync.boards.bootenv import BootRecord
from edgesync.boards.bootloader import Say, boot
from edgesync.boards.files import reboot_requested
from edgesync.host.files import storage_errors
from edgesync.host.worker import PR_SET_PDEATHSIG
from edgesync.wire.errors import StorageError

Outcome = Literal["stop", "power-cut", "reboot", "watchdog"]
Wait = Callable[[float], set[str]]
"""Waits for signals, at most so many seconds; returns what those that came mean, perhaps nothing."""

_MEANING: Mapping[signal.Signals, str] = {
    signal.SIGTERM: "stop",
    signal.SIGINT: "stop",
    signal.SIGUSR1: "power-cut",
    signal.SIGCHLD: "child",
}

_POLL = 0.2
"""Seconds between looks for a reboot request."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the board behaves; seconds unless said otherwise.

    `dark`: from power-off to the boot loader. `grace`: from SIGTERM to SIGKILL. `pause` before the first restart of
    the agent, doubled at each quick death up to `longest_pause`; a death is quick within `healthy` of the start.
    `restarts`: quick deaths in a row before the watchdog boots the board. `watchdogs`: boots by the watchdog in a row
    before the board is given up. `lock`: how long to wait for an earlier supervisor's agent to be gone.
    """

    dark: float = 0.2
    grace: float = 5.0
    pause: float = 0.5
    longest_pause: float = 10.0
    healthy: float = 10.0
    restarts: int = 20
    watchdogs: int = 5
    lock: float = 5.0


class Supervisor:
    """Runs one board whose slots are under `root`; `command` starts the agent, `say` takes events."""

    def __init__(self, root: Path, command: Sequence[str], say: Say, habits: Habits | None = None) -> None:
        self._root = root
        self._command = list(command)
        self._say = say
        self._habits = habits or Habits()
        self._libc = ctypes.CDLL(None)

    def run(self) -> int:
        """Play the board until it is told to stop: 0 then, 1 when no slot boots or the agent never lives.

        Raises StorageError when another supervisor plays this board already.
        """
        watchdogs = 0
        with _locked(self._root, self._habits.lock) as lock, _signals() as wait:
            while True:
                record = boot(self._root, str(uuid.uuid4()), self._say)
                if record is None:
                    self._say("dead", reason="no slot can be booted")
                    return 1
                outcome = self._live(record, wait, lock)
                self._say(outcome, boot_id=record.boot_id)
                if outcome == "stop" or self._stopped_while_dark(wait):
                    return 0
                watchdogs = watchdogs + 1 if outcome == "watchdog" else 0
                if watchdogs > self._habits.watchdogs:
                    self._say("dead", reason=f"the agent died in each of {watchdogs} boots in a row")
                    return 1

    def _live(self, record: BootRecord, wait: Wait, lock: int) -> Outcome:
        """One boot, from the first start of the agent to what ended the boot."""
        habits, quick = self._habits, 0
        while True:
            started = time.monotonic()
            child = self._start(record, lock)
            outcome: Outcome | None = None
            try:
                outcome = self._watch(record, wait, child=child)
            finally:
                self._end(child, at_once=outcome in {None, "power-cut"})
            self._say("agent-exit", boot_id=record.boot_id, **_how(child.returncode))
            if outcome:
                return outcome
            quick = quick + 1 if time.monotonic() - started < habits.healthy else 0
            if quick > habits.restarts:
                return "watchdog"
            pause = min(habits.longest_pause, habits.pause * 2.0 ** max(0, quick - 1))
            outcome = self._watch(record, wait, until=time.monotonic() + pause)
            if outcome:
                return outcome

    def _watch(
        self,
        record: BootRecord,
        wait: Wait,
        *,
        child: subprocess.Popen[bytes] | None = None,
        until: float = math.inf,
    ) -> Outcome | None:
        """Wait for what ends this boot; None when the child ends or the time comes first."""
        while True:
            asked = wait(min(_POLL, until - time.monotonic()))
            if "stop" in asked:
                return "stop"
            if "power-cut" in asked:
                return "power-cut"
            if reboot_requested(self._root, record.boot_id):
                return "reboot"
            if time.monotonic() >= until or (child and child.poll() is not None):
                return None

    def _stopped_while_dark(self, wait: Wait) -> bool:
        until = time.monotonic() + self._habits.dark
        while True:
            if "stop" in wait(until - time.monotonic()):
                return True
            if time.monotonic() >= until:
                return False

    def _start(self, record: BootRecord, lock: int) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output carries events only
            pass_fds=(lock,),  # so that no other supervisor begins before this agent is gone
            start_new_session=True,
            preexec_fn=partial(self._tie_to, os.getpid()),  # noqa: PLW1509 - there are no threads here
        )
        self._say("agent-start", boot_id=record.boot_id, pid=child.pid)
        return child

    def _tie_to(self, parent: int) -> None:
        """In the child: die when the supervisor does, also when it died before this was asked for."""
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def _end(self, child: subprocess.Popen[bytes], *, at_once: bool) -> None:
        if not at_once:
            child.terminate()
            try:
                child.wait(self._habits.grace)
            except subprocess.TimeoutExpired:
                pass  # it had its chance
        child.kill()
        child.wait()


@contextmanager
def _signals() -> Iterator[Wait]:
    """Signals as something that can be waited for. Handlers, unlike a signal mask, are not inherited by the agent."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    fd_before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _heard) for number in _MEANING}

    def wait(seconds: float) -> set[str]:
        ready, _, _ = select.select([read], [], [], max(0.0, seconds))
        return {_MEANING[signal.Signals(number)] for number in os.read(read, 4096)} if ready else set()

    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        os.close(read)
        os.close(write)


def _heard(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has it; a handler must exist, or the default action would end the process."""


@contextmanager
def _locked(root: Path, seconds: float) -> Iterator[int]:
    path = root / "lock"
    with storage_errors(os.fspath(path)):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StorageError(f"{root}: another supervisor plays this board; stop it first") from None
                time.sleep(0.05)
        yield fd
    finally:
        os.close(fd)


def _how(code: int) -> dict[str, object]:
    return {"signal": signal.Signals(-code).name} if code < 0 else {"status": code}
