"""What has to do with boots: a slot is activated, marked good or given up, and a boot proves itself.

Each call begins at once and answers with events. A reboot waits for the report before it, but not for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from edgesync.agent import events, record
from edgesync.agent.gate import Deed, Gate
from edgesync.agent.reporter import Reporter
from edgesync.boards.backend import BootBackend
from edgesync.wire.errors import EdgesyncError, ProbeFailedError

GOODBYE = 30.0
"""Seconds that a reboot waits for the report before it: silence after an activation counts as loss."""

log = logging.getLogger("edgesync.agent")

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Boots:
    """One board's. `spawn` starts a task that ends with the agent; `emit` takes the machine's events."""

    def __init__(
        self,
        backend: BootBackend,
        gate: Gate,
        reporter: Reporter,
        *,
        confirm_seconds: float,
        spawn: Spawn,
        emit: Callable[[events.Event], None],
    ) -> None:
        self._backend, self._gate, self._reporter = backend, gate, reporter
        self._confirm_seconds, self._spawn, self._emit = confirm_seconds, spawn, emit
        self._activating: asyncio.Task[None] | None = None

    def activate(self) -> None:
        """Let the boot loader try the other slot and reboot, once nothing says "not now"."""
        self.stop()
        self._activating = self._spawn(self._activate())

    def stop(self) -> None:
        """Wait no longer for what puts an activation off."""
        if self._activating:
            self._activating.cancel()
            self._activating = None

    def give_up(self) -> None:
        """Reboot without activating: a slot on trial then falls back."""
        self._spawn(self._give_up())

    def mark_good(self) -> None:
        self._spawn(self._mark_good())

    def probe(self) -> None:
        """Find out whether this boot is healthy."""
        self._spawn(self._probe())

    async def _activate(self) -> None:
        await self._reporter.settled(GOODBYE)
        deed = Deed("switch", "firmware")
        if await self._gate.passed(deed, lambda error: self._emit(events.PutOff(None, error))):
            # The machine asks for it again: what boots next has to be in the journal before.
            self._emit(events.LetThrough(None))
            return
        try:
            self._backend.activate()
        except EdgesyncError as error:
            self._not_rebooted(error)
            return
        self._reboot()

    async def _give_up(self) -> None:
        await self._reporter.settled(GOODBYE)
        self._reboot()

    def _reboot(self) -> None:
        try:
            self._backend.reboot()
        except EdgesyncError as error:
            self._not_rebooted(error)

    def _not_rebooted(self, error: EdgesyncError) -> None:
        log.warning("reboot failed: %s: %s", error.name, error)
        self._emit(events.ActivateFailed(error))

    async def _mark_good(self) -> None:
        """A healthy slot that stays unmarked falls back at the next boot, so a disk that is full is waited for."""
        for _ in range(record.SAVE_TRIES):
            try:
                self._backend.mark_good()
            except EdgesyncError as error:
                log.warning("slot not marked good: %s: %s", error.name, error)
                self._emit(events.Noticed(error))
                await asyncio.sleep(record.SAVE_WAIT)
            else:
                return

    async def _probe(self) -> None:
        """Healthy is: storage, keys, workers, the network and the broker together carried one report."""
        if await self._reporter.settled(self._confirm_seconds):
            self._emit(events.ProbePassed())
            return
        slot = self._backend.evidence().slot
        error = ProbeFailedError(f"slot {slot}: no report reached the broker in {self._confirm_seconds:.0f} s")
        log.warning("%s", error)
        self._emit(events.ProbeFailed(error))
