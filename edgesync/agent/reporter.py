"""Tells the server what the board is: the newest state, signed in a worker, acknowledged by the broker.

Reports cost bytes (about 700 on the air), so they are coalesced: one is sent for a change of phase or error, and while
a blob comes one for each quarter of it, not oftener than every `PROGRESS_EVERY` seconds. A report that was not
acknowledged is made anew from what is true then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from edgesync.host.mqtt import MqttLink
from edgesync.trust import request
from edgesync.wire import topics
from edgesync.wire.errors import EdgesyncError, LinkError
from edgesync.wire.ids import fleet_of
from edgesync.wire.messages import Reported

APART = 1.0
"""Seconds between two reports at least."""
PROGRESS_EVERY = 15.0
PROGRESS_PART = 0.25
SIGN_RETRY = 30.0
"""Seconds before a report that could not be signed is tried again."""

log = logging.getLogger("edgesync.report")


class Reporter:
    """`compose` makes the report of this moment, with the next counter, and has persisted that counter on return;
    `sent` is told the bytes of each report.
    """

    def __init__(
        self, link: MqttLink, key_path: str, compose: Callable[[], Reported], sent: Callable[[int], None]
    ) -> None:
        self._link, self._key_path, self._compose, self._sent = link, key_path, compose, sent
        self._due = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._connected = asyncio.Event()
        self._progress = (0.0, 0)
        self._later: asyncio.TimerHandle | None = None

    def request(self, within: float = 0.0) -> None:
        """The state has changed: report it within so many seconds. One report tells all that is true by then."""
        self._quiet.clear()
        loop = asyncio.get_running_loop()
        if self._later and (not within or self._later.when() > loop.time() + within):
            self._later.cancel()
            self._later = None
        if not within:
            self._due.set()
        elif self._later is None and not self._due.is_set():
            self._later = loop.call_later(within, self.request)

    def progress(self, done: int, total: int, now: float) -> None:
        """Bytes of the blob so far; becomes a report when it is time for one."""
        since, reported = self._progress
        if done < reported or not since:
            self._progress = (now, done)
        elif done - reported >= PROGRESS_PART * total and now - since >= PROGRESS_EVERY and done < total:
            self._progress = (now, done)
            self.request()

    @property
    def quiet(self) -> bool:
        """Everything is reported and acknowledged."""
        return self._quiet.is_set()

    def link_up(self) -> None:
        self._connected.set()

    def link_down(self) -> None:
        self._connected.clear()

    async def settled(self, limit: float) -> bool:
        """Wait until everything is reported and acknowledged, at most `limit` seconds; whether it was."""
        if self._later:
            self.request()
        try:
            await asyncio.wait_for(self._quiet.wait(), limit)
        except asyncio.TimeoutError:  # the builtin TimeoutError only from Python 3.11 on
            return False
        return True

    async def run(self) -> None:
        """Report for ever; ends when it is cancelled."""
        while True:
            await self._due.wait()
            await self._connected.wait()
            self._due.clear()
            if self._later:  # it was asked for while the last one was on its way: this one tells that as well
                self._later.cancel()
                self._later = None
            try:
                reported = self._compose()
                message = await request.sign(reported, key_path=self._key_path)
                await self._link.deliver(topics.reported(fleet_of(reported.device), reported.device), message)
            except LinkError as error:
                log.info("report not delivered: %s", error)
                self._due.set()
            except EdgesyncError as error:
                log.warning("report not made: %s: %s", error.name, error)
                self._due.set()
                await asyncio.sleep(SIGN_RETRY)
            else:
                self._sent(len(message))
                log.info("reported phase=%s counter=%d bytes=%d", reported.phase.value, reported.counter, len(message))
                if not self._due.is_set() and not self._later:
                    self._quiet.set()
            await asyncio.sleep(APART)
