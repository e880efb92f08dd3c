"""Following a child process that makes a delta: its progress, its reply, and its end when the caller is interrupted.

The alignment is one long call into C, which no signal interrupts; a process of its own can be ended at any moment.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgesync.wire.errors import BuildFailedError, by_name

SILENCE = 1800.0
"""Seconds without a line from the child until it is ended: the alignment of a large image says nothing for long."""
LINE_LIMIT = 64 * 1024
COMPLAINT_LINES = 8


def follow(module: str, arguments: Sequence[str], progress: Callable[[str, int, int], None] | None) -> dict[str, Any]:
    """Run `python -m module arguments`, which speaks as `delta.command` does, and return its reply.

    Raises the error that the child names, BuildFailedError if it ends without one. The child and what it started never
    outlive this call.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "edgesync.host.child", str(os.getpid()), module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    complaint: deque[str] = deque(maxlen=COMPLAINT_LINES)
    try:
        assert child.stdout is not None
        for line in _lines(child.stdout.fileno(), module):
            message = _parse(line)
            match message:
                case {"progress": [int(done), int(total)], "phase": str(phase)}:
                    if progress:
                        progress(phase, done, total)
                case {"error": str(name), "detail": str(detail)}:
                    kind = by_name(name) or BuildFailedError
                    raise kind(detail.removesuffix(f" ({kind.hint})"))
                case {"reply": dict() as reply}:
                    return reply
                case _:
                    complaint.append(line.decode(errors="replace"))
        said = complaint[-1].strip() if complaint else "nothing"
        raise BuildFailedError(f"{module} ended with status {child.wait(timeout=60)} and no reply; it said: {said}")
    finally:
        _end(child)


def _lines(fd: int, module: str) -> Iterator[bytes]:
    """Lines until the end. Raises BuildFailedError for silence and for a line that is too long."""
    rest, heard = b"", time.monotonic()
    while True:
        if select.select([fd], [], [], 1.0)[0]:
            if not (data := os.read(fd, LINE_LIMIT)):
                return
            heard = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
        if len(rest) > LINE_LIMIT:
            raise BuildFailedError(f"{module}: a line of more than {LINE_LIMIT} bytes")
        if time.monotonic() - heard > SILENCE:
            raise BuildFailedError(f"{module}: no progress for {SILENCE:.0f} s")


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child's process group, helpers included: it was started as the leader of one."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself, and nobody is left of its group
    child.wait()
    if child.stdout:
        child.stdout.close()
