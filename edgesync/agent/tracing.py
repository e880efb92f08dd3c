"""What a board did for a rollout, as spans: one for each phase, under one for the whole update. Pure.

A phase lasts over crashes and reboots, so what is open is kept in the journal beside the state, and what is finished is
kept with it until it is told: before a reboot, and at the end. Ids follow from rollout and board (`wire.trace`), so a
span that a power cut made told twice is the same span.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgesync.agent.machine import State
from edgesync.wire import fields, trace
from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Phase
from edgesync.wire.trace import Attributes, Link, Span, SpanId, TraceId

SPANS_LIMIT = 32
"""Finished spans that wait to be told. An update that waits and fetches in turn for days keeps the newest."""

_ENDS = (Phase.IDLE, Phase.FAILED)
_TOLD = (*_ENDS, Phase.ACTIVATING)


@dataclass(frozen=True, slots=True)
class Progress:
    """The update that is traced. `phase` is open since `since`, the update since `began` (unix seconds); "" and 0 when
    none is. `counts` numbers spans of one name; `done` holds finished ones that are not told yet, as (name, number,
    start, end, error).
    """

    rollout: str = ""
    began: float = 0.0
    phase: str = ""
    since: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    done: tuple[tuple[str, int, float, float, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "rollout": self.rollout,
            "began": self.began,
            "phase": self.phase,
            "since": self.since,
            "counts": dict(self.counts),
            "done": [list(row) for row in self.done],
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Progress:
        """Raises MalformedMessageError for anything that `to_dict` cannot have written."""
        rows = []
        for row in fields.array(value, "done", SPANS_LIMIT):
            match row:
                case [str(name), int(number), int() | float() as start, int() | float() as end, str(error)]:
                    rows.append((name, number, float(start), float(end), error))
                case _:
                    raise MalformedMessageError(f"field 'done': found {str(row)[:60]!r}, expected a finished span")
        counts = fields.mapping(value, "counts")
        return Progress(
            fields.text(value, "rollout", default=""),
            fields.number(value, "began", 0.0),
            fields.text(value, "phase", default=""),
            fields.number(value, "since", 0.0),
            {name: fields.integer(counts, name) for name in counts},
            tuple(rows),
        )


def follow(
    progress: Progress, device: DeviceId, before: State, after: State, now: float
) -> tuple[Progress, tuple[Span, ...]]:
    """The progress after a decision at `now` (unix seconds), and the spans that are to be told now."""
    rollout = after.desired.rollout if after.desired else ""
    told: tuple[Span, ...] = ()
    if progress.phase and rollout != progress.rollout:
        ended = _end(progress, "superseded", now)
        told, progress = _spans(ended, device, before), replace(ended, done=())
    elif progress.phase and after.phase.value != progress.phase:
        error = after.error.name if after.error and after.phase in (Phase.WAITING, Phase.FAILED) else ""
        progress = _close(progress, progress.phase, progress.since, now, error)
        progress = replace(progress, phase=after.phase.value, since=now)
        if after.phase in _ENDS:
            progress = _end(replace(progress, phase=""), error, now)
    if not progress.phase and rollout and after.phase not in _ENDS:
        counts = progress.counts if progress.rollout == rollout else {}
        progress = Progress(rollout, now, after.phase.value, now, counts, progress.done)
    if progress.done and after.phase in _TOLD and (before.phase is not after.phase or not progress.phase):
        return replace(progress, done=()), (*told, *_spans(progress, device, after))
    return progress, told


def _end(progress: Progress, error: str, now: float) -> Progress:
    """The whole update is over, and the phase that is open with it."""
    if progress.phase:
        progress = _close(progress, progress.phase, progress.since, now, error)
    return replace(_close(progress, trace.UPDATE, progress.began, now, error), phase="", since=0.0, began=0.0)


def _close(progress: Progress, name: str, start: float, end: float, error: str) -> Progress:
    number = progress.counts.get(name, 0)
    row = (name, number, start, max(start, end), error)
    counts = {**progress.counts, name: number + 1}
    return replace(progress, counts=counts, done=(*progress.done, row)[-SPANS_LIMIT:])


def _spans(progress: Progress, device: DeviceId, state: State) -> tuple[Span, ...]:
    own = trace.board_trace(progress.rollout, device)
    updates = [row[1] for row in progress.done if row[0] == trace.UPDATE]
    update = trace.span_id(own, trace.UPDATE, updates[0] if updates else progress.counts.get(trace.UPDATE, 0))
    attributes = {"edgesync.rollout": progress.rollout, "edgesync.slot": state.slot, "edgesync.boot_id": state.boot_id}
    if state.desired:
        attributes |= {"edgesync.release": state.desired.release, "edgesync.revision": state.desired.revision}
    return tuple(_span(own, update, row, progress.rollout, attributes) for row in progress.done)


def _span(
    own: TraceId, update: SpanId, row: tuple[str, int, float, float, str], rollout: str, attributes: Attributes
) -> Span:
    name, number, start, end, error = row
    is_root = name == trace.UPDATE
    parent = trace.span_id(own, trace.BOARD) if is_root else update
    links = _rollout_link(rollout) if is_root else ()
    return Span(own, trace.span_id(own, name, number), parent, name, start, end, error, attributes, links)


def _rollout_link(rollout: str) -> tuple[Link, ...]:
    whole = trace.rollout_trace(rollout)
    return (Link(whole, trace.span_id(whole, trace.ROLLOUT)),)
