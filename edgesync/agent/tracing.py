"""What a board did for a rollout, as spans: one for each phase, under one for the whole update. Pure.

A phase lasts over crashes and reboots, so what is open is kept, and what is finished is kept with it until it is told:
before a reboot, and at the end. Ids follow from rollout and board (`wire.trace`), so a span that a power cut made told
twice is the same span. Firmware and config are followed each for itself, in one trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgesync.wire import fields, trace
from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.ids import DeviceId
from edgesync.wire.trace import Attributes, Link, Span

SPANS_LIMIT = 32
"""Finished spans that wait to be told. An update that waits and fetches in turn for days keeps the newest."""


@dataclass(frozen=True, slots=True)
class View:
    """What a decider's state says of a rollout. `over`: nothing is under way in this `phase`. `parting`: a reboot
    follows, so that what is finished had better be told. `error` is the name of what the phase stands still for, or "".
    """

    rollout: str
    phase: str
    over: bool
    parting: bool = False
    error: str = ""
    attributes: Attributes = field(default_factory=dict)


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
    progress: Progress, kind: str, device: DeviceId, views: tuple[View, View], now: float
) -> tuple[Progress, tuple[Span, ...]]:
    """The progress of an update of this `kind` (the name of its span) after a decision at `now` (unix seconds), and the
    spans that are to be told now. `views` are those before and after the decision.
    """
    before, after = views
    told: tuple[Span, ...] = ()
    if progress.phase and after.rollout != progress.rollout:
        ended = _end(progress, kind, "superseded", now)
        told, progress = _spans(ended, kind, device, before), replace(ended, done=())
    elif progress.phase and after.phase != progress.phase:
        progress = _close(progress, progress.phase, progress.since, now, after.error)
        progress = replace(progress, phase=after.phase, since=now)
        if after.over:
            progress = _end(replace(progress, phase=""), kind, after.error, now)
    if not progress.phase and after.rollout and not after.over:
        counts = progress.counts if progress.rollout == after.rollout else {}
        progress = Progress(after.rollout, now, after.phase, now, counts, progress.done)
    if progress.done and (after.parting or not progress.phase):
        return replace(progress, done=()), (*told, *_spans(progress, kind, device, after))
    return progress, told


def _end(progress: Progress, kind: str, error: str, now: float) -> Progress:
    """The whole update is over, and the phase that is open with it."""
    if progress.phase:
        progress = _close(progress, progress.phase, progress.since, now, error)
    return replace(_close(progress, kind, progress.began, now, error), phase="", since=0.0, began=0.0)


def _close(progress: Progress, name: str, start: float, end: float, error: str) -> Progress:
    number = progress.counts.get(name, 0)
    row = (name, number, start, max(start, end), error)
    counts = {**progress.counts, name: number + 1}
    return replace(progress, counts=counts, done=(*progress.done, row)[-SPANS_LIMIT:])


def _spans(progress: Progress, kind: str, device: DeviceId, view: View) -> tuple[Span, ...]:
    own, whole = trace.board_trace(progress.rollout, device), trace.rollout_trace(progress.rollout)
    numbers = [row[1] for row in progress.done if row[0] == kind]
    update = trace.span_id(own, kind, numbers[0] if numbers else progress.counts.get(kind, 0))
    attributes = {**view.attributes, "edgesync.rollout": progress.rollout}
    link = Link(whole, trace.span_id(whole, trace.ROLLOUT))
    spans: list[Span] = []
    links: tuple[Link, ...]
    for name, number, start, end, error in progress.done:
        if name == kind:
            parent, span, links = trace.span_id(own, trace.BOARD), update, (link,)
        else:
            parent, span, links = update, trace.span_id(own, f"{kind} {name}", number), ()
        spans.append(Span(own, span, parent, name, start, end, error, attributes, links))
    return tuple(spans)
