"""What the server did for a rollout, as spans, from the difference of two states. Pure.

A rollout's own trace has one span for the whole rollout and, below it, one for each blob that was made. Each board's
trace (`wire.trace`) begins here with a span from its offer to the evidence; the board hangs what it did below that.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgesync.control.standing import BAD, Standing, State, Status
from edgesync.wire import trace
from edgesync.wire.ids import DeviceId
from edgesync.wire.trace import Attributes, Link, Span, SpanId

_OVER = ("done", "aborted", "failed")


def ended(before: State, after: State, now: float, device: DeviceId | None = None) -> Iterator[Span]:
    """The spans that ended between two states, at `now` (unix seconds). `device`: the board that the event was about,
    or None; an event that left the rollout as it was touched no other.
    """
    if before.rollout and after.rollout != before.rollout and before.phase not in _OVER:
        yield _rollout(before, now, "superseded")
    if (after.rollout, after.phase) != (before.rollout, before.phase) and after.phase in _OVER:
        yield _rollout(after, now, "" if after.phase == "done" else after.reason or after.phase)
    alone = device in after.boards and after.rollout == before.rollout
    for name in [device] if device and alone else after.boards:
        old, new = before.boards.get(name), after.boards[name]
        if old is not new and old is not None and _is_over(old, new):
            yield _board(after, new, now)


def made(rollout: str, what: str, number: int, start: float, end: float, *, length: int = 0, error: str = "") -> Span:
    """The `number`-th blob of a rollout: what it is, and its bytes or what it failed of."""
    own = trace.rollout_trace(rollout)
    attributes: Attributes = {"edgesync.rollout": rollout, "edgesync.blob": what, "edgesync.bytes": length}
    return Span(own, trace.span_id(own, "make", number), _root(rollout), "make", start, end, error, attributes)


def _rollout(state: State, now: float, error: str) -> Span:
    attributes: Attributes = {
        "edgesync.rollout": state.rollout,
        "edgesync.revision": state.revision,
        "edgesync.author": trace.attribute(state.author),
        "edgesync.subject": trace.attribute(state.subject),
        "edgesync.boards": sum(board.part for board in state.boards.values()),
    }
    own = trace.rollout_trace(state.rollout)
    return Span(own, _root(state.rollout), "", trace.ROLLOUT, state.started, now, error, attributes)


def _is_over(old: Standing, new: Standing) -> bool:
    over = {Status.CONFIRMED, *BAD}
    return new.part and new.offered is not None and new.status in over and old.status not in over


def _board(state: State, board: Standing, now: float) -> Span:
    assert board.offered is not None
    rollout = board.offered.desired.rollout
    own = trace.board_trace(rollout, board.device)
    error = board.error.name if board.error else board.status.value if board.status in BAD else ""
    attributes: Attributes = {
        "edgesync.rollout": rollout,
        "edgesync.revision": board.offered.desired.revision,
        "edgesync.release": board.wanted.release,
        "edgesync.device": board.device,
        "edgesync.wave": state.spec.fleet.waves[board.wanted.wave].name if state.spec else "",
        "edgesync.status": board.status.value,
    }
    links = (Link(trace.rollout_trace(rollout), _root(rollout)),)
    start = min(board.offered.at, now)
    return Span(own, trace.span_id(own, trace.BOARD), "", trace.BOARD, start, now, error, attributes, links)


def _root(rollout: str) -> SpanId:
    return trace.span_id(trace.rollout_trace(rollout), trace.ROLLOUT)
