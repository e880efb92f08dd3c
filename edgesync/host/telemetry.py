"""Where the agent leaves what it has to tell about itself, and a collector in the same process takes it.

A bounded queue between strangers: the agent never waits for telemetry and does not know whether anybody listens, and
the collector knows nothing of the agent. What finds the queue full is dropped, the oldest first, and counted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from edgesync.wire.trace import Span

LIMIT = 256
"""Spans that wait: several updates with all their phases."""


def now() -> float:
    """Unix seconds with their fractions, as the operating system believes them: for telemetry, never for trust."""
    return time.time()


class TelemetryPort:
    """One producer and one taker, both on the event loop. `dropped` counts spans that found no room."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._spans: deque[Span] = deque(maxlen=limit)
        self._listener: Callable[[], None] | None = None
        self.dropped = 0

    def tell(self, *spans: Span) -> None:
        for span in spans:
            self.dropped += len(self._spans) == self._spans.maxlen
            self._spans.append(span)
        if spans and self._listener:
            self._listener()

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call this whenever there is something to take; None for nobody any more."""
        self._listener = listener
        if listener and self._spans:
            listener()

    def take(self) -> tuple[Span, ...]:
        """All that waits, oldest first."""
        taken = tuple(self._spans)
        self._spans.clear()
        return taken
