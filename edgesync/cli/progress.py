"""A line of progress on standard error, where that is a terminal; silence elsewhere. No package is needed for it."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

EVERY = 0.1
"""Seconds between two changes of the line: a slow terminal must not slow the work."""


@contextlib.contextmanager
def progress_line() -> Iterator[Callable[[str, int, int], None]]:
    """What to call with what is being done, and how many of how many bytes of it. The line is gone at the end."""
    live, shown = sys.stderr.isatty(), 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal shown
        if live and time.monotonic() - shown >= EVERY:
            shown = time.monotonic()
            part = f"{100 * done // total:3d} %" if total else "     "
            print(f"\r\x1b[K{part}  {what}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does. For the main thread."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
