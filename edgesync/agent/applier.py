"""Makes one image in the other slot: opens what the apply worker needs, and answers with an event.

The worker gets descriptors, never paths. A call that was cut off is made again and goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from edgesync.agent import events
from edgesync.agent.staging import Staging
from edgesync.boards.backend import BootBackend
from edgesync.delta import request
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.messages import Target

log = logging.getLogger("edgesync.apply")


class Applier:
    """One apply at a time. `emit` takes the machine's events."""

    def __init__(self, backend: BootBackend, staging: Staging, emit: Callable[[events.Event], None]) -> None:
        self._backend, self._staging, self._emit = backend, staging, emit
        self._task: asyncio.Task[None] | None = None

    def start(self, target: Target) -> None:
        self.stop()
        self._task = asyncio.get_running_loop().create_task(self._run(target), name="apply")

    def stop(self) -> None:
        """The worker is killed; what it has written and verified is used by the next."""
        if self._task:
            self._task.cancel()
            self._task = None

    async def _run(self, target: Target) -> None:
        fds: list[int] = []
        try:
            slot = self._backend.evidence().slot
            source = target.source
            base = blob = None
            if source is None or source.kind == "delta":
                fds.append(base := self._backend.open_component(slot, target.component))
            if source is not None:
                fds.append(blob := self._staging.open_blob(source.blob))
            fds.append(output := self._backend.prepare(target.component, target.length))
            log.info("apply component=%s version=%s bytes=%d", target.component, target.version, target.length)
            await request.apply(
                source.kind if source else "copy",
                target=output,
                length=target.length,
                sha256=target.sha256,
                base=base,
                base_sha256=source.base if source else None,
                blob=blob,
            )
        except EdgesyncError as error:
            log.warning("apply failed: %s: %s", error.name, error)
            self._emit(events.ApplyFailed(target.component, error))
        else:
            self._emit(events.Applied(target.component, target.sha256))
        finally:
            for fd in fds:
                os.close(fd)
