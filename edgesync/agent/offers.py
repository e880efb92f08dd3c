"""What the server wants, as it arrives: one desired state at a time through the verify worker, the newest only, and
ever slower while they are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgesync.agent.config import AgentConfig
from edgesync.host.clock import TrustedTime
from edgesync.trust import request as trust
from edgesync.wire.errors import EdgesyncError, StaleMessageError
from edgesync.wire.ids import Digest, digest_of
from edgesync.wire.messages import Desired

FORGED_WAIT, FORGED_LIMIT = 1.0, 300.0
"""Seconds between the checks of messages while they are refused: a flood costs one worker in five minutes."""


class Offers:
    """`in_force` is the desired state that the board acts on; `accept` is told of each that is verified, `refuse` why
    one was not believed.
    """

    def __init__(
        self,
        config: AgentConfig,
        time: TrustedTime,
        *,
        in_force: Callable[[], Desired | None],
        accept: Callable[[Desired], None],
        refuse: Callable[[EdgesyncError], None],
    ) -> None:
        self._config, self._time = config, time
        self._in_force, self._accept, self._refuse = in_force, accept, refuse
        self._newest: bytes | None = None  # not checked yet
        self._arrived = asyncio.Event()
        self._checking = False
        self._accepted = Digest("")  # of the message that was checked last

    @property
    def pending(self) -> bool:
        """Whether one waits to be checked, or is being checked."""
        return self._checking or self._arrived.is_set()

    def received(self, packed: bytes) -> None:
        """Of a size that may be looked at."""
        self._newest = packed
        self._arrived.set()

    def cleared(self) -> None:
        """The broker has none any more; the same one again is news."""
        self._newest, self._accepted = None, Digest("")

    async def run(self) -> None:
        """Check for ever; ends when it is cancelled."""
        wait = FORGED_WAIT
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            packed, self._newest = self._newest, None
            if packed is None or digest_of(packed) == self._accepted:
                continue
            self._checking = True
            try:
                await self._check(packed)
            except EdgesyncError as error:
                self._refuse(error)
                self._checking = False
                await asyncio.sleep(wait)
                wait = min(FORGED_LIMIT, 2 * wait)
                if error.heals and self._newest is None:  # the worker's fault, not the message's
                    self.received(packed)
            else:
                wait = FORGED_WAIT
                self._checking = False

    async def _check(self, packed: bytes) -> None:
        before = self._in_force()
        wanted = await trust.verify(
            packed,
            root_path=self._config.trust_root,
            device=self._config.device,
            floor=before.version if before else 0,
            now=self._time.now(),
        )
        self._accepted = digest_of(packed)
        if before and wanted.version == before.version and wanted != before:
            self._refuse(StaleMessageError(f"desired version {wanted.version} came with two contents"))
        else:
            self._accept(wanted)
