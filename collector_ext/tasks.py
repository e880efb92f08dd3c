"""The background work of a component: it begins in `start` and has ended when `shutdown` returns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from collector_ext.component import Host
from collector_ext.status import Status
from edgesync.host.tasks import end


class Background:
    """A component's tasks. One that fails is told as the component's permanent error; the others go on."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, host: Host, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._watched(host, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step leaves its work unawaited, which would warn.
        task.add_done_callback(lambda _: work.close())

    async def end(self) -> None:
        """Cancel what still runs and wait for it. Also without any, and a second time."""
        await end(self._tasks)

    async def _watched(self, host: Host, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            host.report_status(Status.PERMANENT_ERROR, error)
