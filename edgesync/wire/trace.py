"""The traces of a rollout: their ids, and spans as both sides record them. Pure.

Each board's part in a rollout is a trace of its own, whose id follows from the rollout and the board: server and board
write into it without having told each other anything, and after a crash or a reboot too. The rollout's own trace (what
the server does for all boards) is tied to it by a link, so that 10,000 boards do not make one trace that nobody can
show. Ids are those of OpenTelemetry: 16 and 8 bytes, in hex.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NewType

from edgesync.wire import fields
from edgesync.wire.ids import DeviceId

TraceId = NewType("TraceId", str)
SpanId = NewType("SpanId", str)
Attributes = Mapping[str, str | int | float | bool]

ROLLOUT, BOARD, UPDATE = "rollout", "board", "update"
"""Names of spans that others refer to: the root of a rollout's trace; the root of a board's, which the server writes;
and below it what the board itself did."""


def rollout_trace(rollout: str) -> TraceId:
    """The trace of a whole rollout."""
    return TraceId(_hash("rollout", rollout)[:32])


def board_trace(rollout: str, device: DeviceId) -> TraceId:
    """The trace of one board's part in it."""
    return TraceId(_hash("board", rollout, device)[:32])


def span_id(trace: TraceId, name: str, number: int = 0) -> SpanId:
    """The id of the `number`-th span of this name in a trace: the same span told twice has the same id."""
    return SpanId(_hash("span", trace, name, str(number))[:16])


@dataclass(frozen=True, slots=True)
class Link:
    """A span of another trace that this one belongs with."""

    trace: TraceId
    span: SpanId


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took from `start` to `end` (unix seconds). `parent` is "" at the root; `error` is what it failed
    of, "" for nothing.
    """

    trace: TraceId
    span: SpanId
    parent: SpanId | str
    name: str
    start: float
    end: float
    error: str = ""
    attributes: Attributes = field(default_factory=dict)
    links: tuple[Link, ...] = ()


def attribute(value: Any) -> str | int | float | bool:
    """A value that an attribute may have; anything else becomes storable text."""
    return value if isinstance(value, bool | int | float) else fields.storable(str(value))[:200]


def _hash(*parts: str) -> str:
    # The length of each part makes ("ab", "c") another trace than ("a", "bc").
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()
