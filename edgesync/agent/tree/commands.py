"""Runs the commands that config names: programs of the board's image, without a shell, for a limited time."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from edgesync.boards.profile import TREE, Command
from edgesync.host import command
from edgesync.wire.errors import EdgesyncError, NotAllowedError, WorkerDiedError

log = logging.getLogger("edgesync.config")


class Commands:
    """The commands of a board type, by name."""

    def __init__(self, known: Mapping[str, Command]) -> None:
        self._known = known

    def check_known(self, *names: str) -> None:
        """Raises NotAllowedError for a name that this board does not have."""
        for name in names:
            if name not in self._known:
                known = ", ".join(sorted(self._known)) or "none"
                raise NotAllowedError(f"command {name!r} is not known here, expected one of: {known}")

    async def run(self, name: str, tree: str, failure: type[EdgesyncError]) -> None:
        """Run a command on a tree (its absolute path) to its end. Cancelling kills it.

        Raises `failure` where it is not there, fails, or takes too long; NotAllowedError, and WorkerDiedError where the
        board cannot start anything now.
        """
        self.check_known(name)
        known = self._known[name]
        ended = await command.run([word.replace(TREE, tree) for word in known.run], known.limit)
        log.info("command %s: %s", name, ended)
        if ended.late:
            raise failure(f"{name}: {ended} ({known.limit} s)")
        if not ended.ok:
            raise (WorkerDiedError if ended.short else failure)(f"{name}: {ended}")
