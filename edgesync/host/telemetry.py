"""Between the agent and a collector in the same process: what the agent tells of itself, and the way out for telemetry.

Strangers to each other: the agent never waits for telemetry and does not know whether anybody listens, and the
collector knows nothing of the agent. What finds the queue full is dropped, the oldest first, and counted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edgesync.wire.trace import Span

LIMIT = 256
"""Spans that wait: several updates with all their phases."""


def now() -> float:
    """Unix seconds with their fractions, as the operating system believes them: for telemetry, never for trust."""
    return time.time()


@dataclass(frozen=True, slots=True)
class Reading:
    """A number about the agent. `total`: it counts up from `since` (unix seconds), when it was 0; otherwise it is what
    it is now. `unit` is UCUM.
    """

    name: str
    unit: str
    value: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    total: bool = False
    since: float = 0.0


class TelemetryPort:
    """One producer and one taker, both on the event loop. `dropped` counts spans that found no room."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._spans: deque[Span] = deque(maxlen=limit)
        self._listener: Callable[[], None] | None = None
        self._read: Callable[[], Sequence[Reading]] | None = None
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

    def observe(self, read: Callable[[], Sequence[Reading]]) -> None:
        """Where `readings` come from."""
        self._read = read

    def readings(self) -> Sequence[Reading]:
        """The agent's numbers of this moment; none before there is an agent."""
        return self._read() if self._read else ()


class Uplink(Protocol):
    """The agent's connection, for telemetry."""

    async def send(self, payload: bytes) -> None:
        """Acknowledged by the broker when this returns. Raises LinkError."""
        ...


@runtime_checkable
class Rider(Protocol):
    """A component that needs the agent in whose process it runs."""

    def ride(self, device: str, port: TelemetryPort, uplink: Uplink) -> None:
        """Called before its start."""
        ...
