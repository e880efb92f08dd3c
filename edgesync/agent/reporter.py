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

    def request(self) -> None:
        """The state has changed: report it soon."""
        self._quiet.clear()
        self._due.set()

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
                if not self._due.is_set():
                    self._quiet.set()
            await asyncio.sleep(APART)
