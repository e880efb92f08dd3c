"""Says where a rollout stands to who looks at the commit: a git note on it, and a command of the operator's.

Both are for people and for code hosts. They run beside the rollout, never hold it up, and a status that could not be
told in time is replaced by the next. After a restart the newest one may be told twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgesync.control.git import Git
from edgesync.control.standing import State
from edgesync.host.tasks import end
from edgesync.wire.errors import EdgesyncError

log = logging.getLogger("edgesync.status")

NOTES = "edgesync"
"""The ref of the notes: `git log --notes=edgesync`."""
COMMAND_LIMIT = 60.0
"""Seconds for one run of the operator's command; then it is killed."""
WAITING_LIMIT = 16
"""Commits with a status to be told; the oldest is dropped."""
_IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "edgesync"), ("EMAIL", "edgesync@localhost"))
}


def statuses(before: State, after: State) -> list[dict[str, Any]]:
    """What is to be told when one state follows another: nothing unless a phase changed. Pure."""
    told = []
    if after.rollout != before.rollout and before.phase in ("running", "failed"):
        told.append({**_status(before), "phase": "superseded", "reason": f"by revision {after.revision[:12]}"})
    moved = (before.rollout, before.phase, before.paused) != (after.rollout, after.phase, after.paused)
    started = before.spec is None and after.spec is not None
    if after.rollout and (moved or started):
        told.append(_status(after))
    return told


def _status(state: State) -> dict[str, Any]:
    counts = Counter(board.status.value for board in state.boards.values() if board.part)
    return {
        "revision": state.revision,
        "rollout": state.rollout,
        "phase": state.phase,
        "paused": state.paused,
        "reason": state.reason,
        "counts": dict(sorted(counts.items())),
    }


class Announcer:
    """`command` gets each status as a line of JSON on standard input; none where it is empty. `notes`: whether commits
    are noted.
    """

    def __init__(self, git: Git, command: Sequence[str], *, notes: bool) -> None:
        self._git, self._command, self._notes = git, tuple(command), notes
        self._waiting: dict[str, dict[str, Any]] = {}
        self._kick = asyncio.Event()

    def tell(self, before: State, after: State) -> None:
        """Of each commit the newest status is told, when there is time."""
        for status in statuses(before, after):
            self._waiting.pop(status["revision"], None)
            self._waiting[status["revision"]] = status
            if len(self._waiting) > WAITING_LIMIT:
                del self._waiting[next(iter(self._waiting))]
            self._kick.set()

    async def run(self) -> None:
        """Until cancelled; the operator's command is killed then."""
        while True:
            await self._kick.wait()
            self._kick.clear()
            while self._waiting:
                status = self._waiting.pop(next(iter(self._waiting)))
                line = json.dumps(status, separators=(",", ":")).encode() + b"\n"
                if self._notes:
                    await asyncio.to_thread(self._note, status, line)
                if self._command:
                    await self._run(status, line)

    def _note(self, status: Mapping[str, Any], line: bytes) -> None:
        revision = str(status["revision"])
        try:
            self._git(
                *("notes", f"--ref={NOTES}", "add", "--force", "--file=-", revision), stdin=line, environment=_IDENTITY
            )
        except EdgesyncError as error:
            log.warning("commit %s is not noted: %s", revision[:12], error)

    async def _run(self, status: Mapping[str, Any], line: bytes) -> None:
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            log.warning("[status] command %s cannot be run: %s", self._command[0], error)
            return
        talking = asyncio.ensure_future(child.communicate(line))
        try:
            await asyncio.wait_for(asyncio.shield(talking), COMMAND_LIMIT)
        except asyncio.TimeoutError:  # the builtin TimeoutError only from Python 3.11 on
            log.warning("[status] command %s took more than %.0f s and was killed", self._command[0], COMMAND_LIMIT)
        finally:
            _kill(child)
            await end([talking])
            await child.wait()
        if child.returncode:
            phase, revision = status["phase"], status["revision"][:12]
            log.warning("[status] command ended with %d for %s of %s", child.returncode, phase, revision)


def _kill(child: asyncio.subprocess.Process) -> None:
    """The whole group, whatever it has started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended
