"""Short-lived worker processes: one request, progress lines, one reply, and the end.

The parent opens every file and passes descriptors; the child gets no paths, drops the network where the kernel lets
it, and sets its own limits. Its death or its silence is an error with a name, like any other.

    parent > child   one JSON object on stdin: the request, with "fds": {name: number}
    child > parent   JSON lines on stdout: {"progress": [done, total]} any number of times, then
                     {"reply": {...}}  or  {"error": "<name of a wire.errors class>", "detail": "..."}
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgesync.wire.errors import DETAIL_LIMIT, EdgesyncError, WorkerDiedError, WorkerStalledError, by_name

LINE_LIMIT = 256 * 1024
"""Bytes of one line either way."""

PR_SET_PDEATHSIG = 1
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
M_TRIM_THRESHOLD = -1
KEPT_FREE = 1 << 20
"""Bytes that malloc keeps for later at the end of its heap. Left alone, glibc keeps up to twice the largest block that
was ever given back, and puts later ones of that size between others, where they stay."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one worker. `stall` is the seconds without a progress line after which it is killed; `memory` the
    address space in bytes (well above the resident size: libraries reserve more than they touch); `file_size` the
    largest file that it may write, in bytes.
    """

    stall: float = 60.0
    memory: int = 1 << 30
    file_size: int = 0


async def run(
    module: str,
    request: Mapping[str, Any],
    fds: Mapping[str, int],
    limits: Limits,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Run `python -m module` on one request and return its reply.

    Raises the error that the worker named, WorkerDiedError if it ended without a reply, WorkerStalledError if it was
    silent for `limits.stall` seconds. Cancelling kills the child.
    """
    line = json.dumps(
        {
            **request,
            "fds": dict(fds),
            "limits": {"memory": limits.memory, "file_size": limits.file_size},
            "parent": os.getpid(),
        }
    ).encode()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=tuple(fds.values()),
        limit=LINE_LIMIT,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(line + b"\n")
        child.stdin.close()
        while True:
            try:
                answer = await asyncio.wait_for(child.stdout.readline(), limits.stall)
            except asyncio.TimeoutError as error:  # the builtin TimeoutError only from Python 3.11 on
                raise WorkerStalledError(f"{module}: no progress for {limits.stall:.0f} s") from error
            except ValueError as error:
                raise WorkerDiedError(f"{module}: a line of more than {LINE_LIMIT} bytes") from error
            if not answer:
                code = await child.wait()
                raise WorkerDiedError(f"{module} ended without a reply, {_how(code)}")
            match _parse(answer):
                case {"progress": [int(done), int(total)]}:
                    if on_progress:
                        on_progress(done, total)
                case {"error": str(name), "detail": str(detail)}:
                    raise (by_name(name) or WorkerDiedError)(detail)
                case {"reply": dict() as reply}:
                    return reply
                case _:
                    raise WorkerDiedError(f"{module}: found {answer[:80]!r}, expected progress, an error or a reply")
    finally:
        if child.returncode is None:
            try:
                child.kill()
            except ProcessLookupError:
                pass  # it ended by itself in between
            await child.wait()


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def serve(handler: Callable[[Mapping[str, Any], Mapping[str, int], Progress], Mapping[str, Any]]) -> None:
    """The child's side: read the request, confine, run `handler(request, fds, progress)`, answer, end.

    Heavy imports belong at the top of the worker's module, so that they are done before the limits are set.
    """
    request = json.loads(sys.stdin.buffer.readline(LINE_LIMIT))
    confine(request["limits"]["memory"], request["limits"]["file_size"])
    if os.getppid() != request["parent"]:
        sys.exit("the parent is gone")  # it died before the kernel was told to end this process with it

    def progress(done: int, total: int) -> None:
        _say({"progress": [done, total]})

    try:
        reply = handler(request, request["fds"], progress)
    except EdgesyncError as error:
        _say({"error": error.name, "detail": Exception.__str__(error)[:DETAIL_LIMIT]})
    else:
        _say({"reply": reply})


def confine(memory: int, file_size: int) -> None:
    """Take away what a worker does not need. Namespaces are a bonus: kernels that refuse them lose nothing else."""
    import ctypes  # noqa: PLC0415 - weighs 0.6 MiB, and the parent never needs it

    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    if mallopt := getattr(libc, "mallopt", None):  # musl has none, and keeps less by itself
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE)
    if libc.unshare(CLONE_NEWNET) != 0:
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed agent leaves no worker behind that writes to its slot
    os.chdir("/")


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
