"""Finds drift: compares the tree in force with its bundle, from time to time and when the kernel says that someone has
been there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from edgesync.agent.tree import events
from edgesync.agent.tree.bundles import Bundles
from edgesync.agent.tree.notify import Notifier
from edgesync.agent.tree.trees import Trees
from edgesync.wire.errors import EdgesyncError

EVERY = 600.0
"""Seconds between two looks."""
SETTLE = 1.0
"""Seconds from the first word of the kernel to the look: whoever writes one file often writes another."""
PAUSE_FIRST, PAUSE_LIMIT = 10.0, 3600.0
"""Seconds that the kernel's word is not listened to after drift was found, doubled each time until a look finds none:
something that writes again and again shall wear neither the flash nor the link.
"""
NAMED = 5
"""Names of drifted files in the log."""

log = logging.getLogger("edgesync.config")


class Watch:
    """`at_work` is held by whoever writes to the trees; `emit` takes the decider's events."""

    def __init__(
        self, trees: Trees, bundles: Bundles, at_work: asyncio.Lock, emit: Callable[[events.Event], None]
    ) -> None:
        self._trees, self._bundles, self._at_work, self._emit = trees, bundles, at_work, emit
        self._stirred = asyncio.Event()
        self._notifier = Notifier(self._stirred.set)
        self._pause = 0.0

    def switched(self) -> None:
        """Another tree is in force: look at that one."""
        self._stirred.set()

    async def run(self) -> None:
        """Look for ever; ends when it is cancelled."""
        try:
            self._listen()
            while True:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), EVERY)
                await asyncio.sleep(SETTLE)
                self._stirred.clear()
                self._listen()  # before the look, so that nothing falls between the two
                if await self.look():
                    self._pause = min(PAUSE_LIMIT, 2 * self._pause or PAUSE_FIRST)
                    await asyncio.sleep(self._pause)
                else:
                    self._pause = 0.0
        finally:
            self._notifier.close()

    def _listen(self) -> None:
        if directories := self._trees.directories():  # a board without config pays nothing for watching it
            self._notifier.watch(directories)

    async def look(self) -> int:
        """Compare once; the number of names that differ."""
        async with self._at_work:
            try:
                config = self._trees.linked()
                if not config:
                    self._emit(events.Drifted("", 0, heal=True))
                    return 0
                catalogue = self._bundles.catalogue(config)
                drifted = []
                try:
                    for path in self._trees.compare(catalogue):
                        drifted.extend([path] if path else [])
                        await asyncio.sleep(0)
                finally:
                    catalogue.close()
            except EdgesyncError as error:
                log.warning("config not compared: %s: %s", error.name, error)
                if config:
                    self._emit(events.HealFailed(config, error))
                return 0
        if drifted:
            more = f" and {len(drifted) - NAMED} more" if len(drifted) > NAMED else ""
            log.warning("config %s drifted: %s%s", config[:12], ", ".join(drifted[:NAMED]), more)
        self._emit(events.Drifted(config, len(drifted), catalogue.settings.drift == "heal"))
        return len(drifted)
