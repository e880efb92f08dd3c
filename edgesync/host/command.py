"""Runs one program of the board's image that has a name: no shell, a process group of its own, a time limit, and no
more of its output than its last words.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

OUTPUT_KEPT = 4096
"""Bytes of the end of what it prints; the rest is read and thrown away."""
READS = 64
"""Reads at one look, so that a program that prints without end holds up nobody else; a pipe holds 16 of them."""
WORDS_LIMIT = 160
"""Characters of its last line."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
CANNOT_RUN = 127
"""The status of what could not be started, as a shell gives it."""
_SHORT_OF = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: exit status, or the signal as a negative number; `late` if that was our signal, for it took too
    long; the last line that it printed; and whether it never began because the board was `short` of something.
    """

    status: int
    words: str = ""
    late: bool = False
    short: bool = False

    @property
    def ok(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        how = f"exit status {self.status}" if self.status >= 0 else f"killed by {signal.Signals(-self.status).name}"
        how = "not done in time" if self.late else how
        return f"{how}: {self.words}" if self.words else how


async def run(argv: Sequence[str], limit: float) -> Ended:
    """Run `argv` for at most `limit` seconds. What it started and left behind in its process group ends with it; so it
    does all when this is cancelled. Raises nothing.
    """
    # A pipe of our own: asyncio's would be waited for until everything that has inherited it is gone.
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writing, True)
    loop = asyncio.get_running_loop()
    kept = bytearray()
    loop.add_reader(reading, _take, loop, reading, kept)
    try:
        return await _run(argv, limit, writing, reading, kept)
    except (OSError, ValueError) as error:
        short = isinstance(error, OSError) and error.errno in _SHORT_OF
        return Ended(CANNOT_RUN, f"{argv[0]}: {error}"[:WORDS_LIMIT], short=short)
    finally:
        loop.remove_reader(reading)
        os.close(reading)


async def _run(argv: Sequence[str], limit: float, writing: int, reading: int, kept: bytearray) -> Ended:
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(writing)
    late = False
    try:
        await asyncio.wait_for(child.wait(), limit)
    except asyncio.TimeoutError:  # the builtin TimeoutError only from Python 3.11 on
        late = True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        status = await child.wait()
    _take(None, reading, kept)
    return Ended(status, _last_line(bytes(kept)), late)


def _take(loop: asyncio.AbstractEventLoop | None, reading: int, kept: bytearray) -> None:
    """What is in the pipe; at its end the loop is told to look no more."""
    for _ in range(READS):
        try:
            data = os.read(reading, OUTPUT_KEPT)
        except BlockingIOError:
            return
        if not data:
            if loop:
                loop.remove_reader(reading)
            return
        kept += data
        del kept[:-OUTPUT_KEPT]


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return "".join(c if c.isprintable() else "?" for c in lines[-1].strip())[-WORDS_LIMIT:] if lines else ""
