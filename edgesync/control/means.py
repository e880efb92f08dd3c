"""What boards can carry, and what each way to an image asks of them. Pure.

The figures were measured on the machine of docs/delta-engine.md; `slowness` in a board's profile scales the times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20
NO_CODER = "the board has no context-mixing coder"

Kind = Literal["mixed", "delta", "full"]
"""Of a blob: a delta of the context-mixing coder, a delta that every board can apply, a full image."""

# Bytes of resident memory of the apply worker, at most. "plain" is a delta of either coder where there is no numpy.
_MEMORY = {"mixed": 60 * MIB, "delta": 60 * MIB, "plain": 48 * MIB, "full": 48 * MIB}
# Bytes of the image that are made in a second of CPU time, base and result hashed, at least.
_RATE = {"mixed": 10e6, "delta": 12e6, "plain": 3e6, "full": 50e6}


@dataclass(frozen=True, slots=True)
class Means:
    """What a board can carry. `memory`: bytes of resident memory of a worker; `disk`: bytes of a blob while it is
    fetched; `seconds` of CPU time that making an image may take; `slowness`: how many times longer its core takes
    than the machine on which the rates were measured; `numpy`: whether its Python has it; `unmixed`: why it gets no
    mixed delta, "" where nothing keeps it from one.
    """

    memory: int = 64 * MIB
    disk: int = 1 << 36
    seconds: float = 7200.0
    slowness: float = 1.0
    numpy: bool = True
    unmixed: str = NO_CODER

    def seconds_for(self, kind: Kind, image: int) -> float:
        """CPU seconds that it takes to make an image of so many bytes, at most."""
        return image / _RATE[self._decoder(kind)] * self.slowness

    def obstacle(self, kind: Kind, image: int, blob: int | None) -> str:
        """What a blob of this kind, for an image of `image` bytes, asks for and the board has not got; "" for nothing.

        `blob` is its length in bytes, None while that is not known.
        """
        if kind == "mixed" and self.unmixed:
            return self.unmixed
        needed = _MEMORY[self._decoder(kind)]
        if needed > self.memory:
            return f"it needs {needed // MIB} MiB of memory, the board has {self.memory // MIB} for it"
        seconds = self.seconds_for(kind, image)
        if seconds > self.seconds:
            how = "" if self.numpy else " without numpy"
            return f"it takes {seconds:.0f} s{how}, the board's limit is {self.seconds:.0f} s"
        if blob is not None and blob > self.disk:
            return f"it has {blob} bytes, the board has room for {self.disk}"
        return ""

    def _decoder(self, kind: Kind) -> str:
        return "plain" if kind != "full" and not self.numpy else kind
