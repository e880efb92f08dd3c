"""One blocking call beside the event loop, in a thread that nobody waits for.

`asyncio.to_thread` and the loop's executor are waited for when the program ends, so a silent server or a dying disk
would hold up a stop. What runs here is cut off with the process; it must leave nothing half done that matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run(function: Callable[[], T]) -> T:
    """What `function()` returns or raises. Cancelling stops the waiting, not the thread."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised again in the event loop
            tell(answer.set_exception, error)
        else:
            tell(answer.set_result, result)

    def tell(settle: Callable[..., None], value: object) -> None:
        def settled() -> None:
            if not answer.done():
                settle(value)

        with contextlib.suppress(RuntimeError):  # the loop has ended; no one is left to be told
            loop.call_soon_threadsafe(settled)

    threading.Thread(target=work, name="blocking", daemon=True).start()
    return await answer
