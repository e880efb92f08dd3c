"""What says "not now" on a board: a file that is there, or a command of its profile that does not end with status 0."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from edgesync.agent.gate import Deed
from edgesync.host import command
from edgesync.wire.errors import EdgesyncError, InhibitedError

COMMAND_LIMIT = 60.0
"""Seconds that a command may take at most, whatever the profile gives it: it is asked once a minute."""


class Inhibitors:
    """`files` are paths, `commands` arguments and time limit (s) by name. `fetch`: they hold up a fetch as well, not
    only what interrupts the application.
    """

    def __init__(
        self, files: Sequence[str], commands: Mapping[str, tuple[Sequence[str], float]], *, fetch: bool
    ) -> None:
        self._files, self._commands, self._fetch = files, commands, fetch
        self._seen = ""

    async def refusal(self, deed: Deed) -> EdgesyncError | None:
        if deed.kind == "fetch" and not self._fetch:
            return None
        self._seen = next((path for path in self._files if os.path.lexists(path)), "")
        if self._seen:
            return InhibitedError(f"{self._seen} is there")
        for name, (argv, limit) in self._commands.items():
            ended = await command.run(argv, min(limit, COMMAND_LIMIT))
            if not ended.ok:
                return InhibitedError(f"command {name} says not now: {ended}")
        return None

    def gone(self) -> bool:
        return bool(self._seen) and not os.path.lexists(self._seen)
