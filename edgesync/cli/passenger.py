"""The collector that rides along in a board's agent: one process, one event loop, one memory.

It is a passenger: where its configuration is wrong or a component of it fails for good, that is logged, and the agent,
which is the only way to mend the board, goes on without telemetry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import edgesync
from collector_ext.component import BuildInfo
from collector_ext.config import parse
from collector_ext.pressure import MemoryPressure
from collector_ext.registry import EntryPoints
from collector_ext.service import CollectorService
from collector_ext.settings.load import load
from edgesync.agent.gate import Deed
from edgesync.host.telemetry import Rider, TelemetryPort, Uplink
from edgesync.wire.errors import EdgesyncError

STOP_LIMIT = 10.0
"""Seconds that the collector gets at the agent's end."""

log = logging.getLogger("edgesync.collector")


class MemoryObstacle:
    """Puts an update off while memory is short: what it takes to fetch, apply and check it would make that worse. The
    reboot into a finished one may come: it frees memory.
    """

    def __init__(self, sources: Sequence[MemoryPressure]) -> None:
        self._sources = sources
        self._refused = False

    async def refusal(self, deed: Deed) -> EdgesyncError | None:
        frees = deed.kind == "switch" and deed.what == "firmware"
        error = None if frees else self._shortage()
        self._refused = error is not None
        return error

    def gone(self) -> bool:
        return self._refused and self._shortage() is None

    def _shortage(self) -> EdgesyncError | None:
        return next((error for source in self._sources if (error := source.shortage())), None)


class Passenger:
    """From `board` to `leave`. `obstacles` are what the agent's gate asks besides."""

    def __init__(self, service: CollectorService | None = None) -> None:
        self._service = service
        self._stop = asyncio.Event()
        self._ride: asyncio.Task[None] | None = None
        extensions = service.extensions.values() if service else ()
        sources = [one for one in extensions if isinstance(one, MemoryPressure)]
        self.obstacles = [MemoryObstacle(sources)] if sources else []

    @classmethod
    async def make(cls, path: str) -> Passenger:
        """By a configuration file; a passenger that does nothing where that cannot be used."""
        try:
            build = BuildInfo("edgesync agent", edgesync.__version__)
            return cls(CollectorService(parse(await load([path]), EntryPoints()), build=build))
        except EdgesyncError as error:
            log.error("no telemetry: %s", error)  # noqa: TRY400 - it is the operator's mistake, and says where
            return cls()

    def board(self, device: str, port: TelemetryPort, uplink: Uplink) -> None:
        """Start, with the agent's ears and its way out for the components that need them."""
        if self._service:
            for one in self._service.instances:
                if isinstance(one.component, Rider):
                    one.component.ride(device, port, uplink)
            self._ride = asyncio.create_task(self._run(self._service))

    async def leave(self) -> None:
        """Stop, within STOP_LIMIT."""
        self._stop.set()
        if self._ride:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ride, STOP_LIMIT)

    async def _run(self, service: CollectorService) -> None:
        try:
            await service.run(self._stop)
        except Exception as error:
            log.exception("no telemetry any more: %s", error)  # noqa: TRY401 - the line says it, the trace where
