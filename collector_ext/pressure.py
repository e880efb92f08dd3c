"""What others may ask whoever watches the memory: is it short?"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgesync.wire.errors import MemoryShortError


@runtime_checkable
class MemoryPressure(Protocol):
    """An extension that knows. Found among a host's extensions, or the service's, by `isinstance`."""

    def shortage(self) -> MemoryShortError | None:
        """Why work that needs memory should wait; None for no reason. Costs nothing: it is the last judgement."""
        ...
