"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 0.5
"""Seconds until a task that has not ended is cancelled again."""
ATTEMPTS = 20


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and wait, 10 s at most. What they raise is dropped.

    Once is not enough: before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes at the moment in which
    what it waits for is done (python/cpython#86296).
    """
    pending = {task for task in tasks if not task.done()}
    for _ in range(ATTEMPTS):
        if not pending:
            break
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
