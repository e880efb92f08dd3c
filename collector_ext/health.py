"""The health of a whole collector out of its components' events, aggregated as healthcheckv2 does. Pure.

collector > extensions > extension:memory_health
> pipeline:metrics > receiver:hostmetrics, processor:batch, exporter:otlphttp
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from collector_ext.ids import InstanceId, Kind
from collector_ext.status import Event, Status

EXTENSIONS = "extensions"


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """Which errors make a collector unhealthy. `recovery` is how many seconds a recoverable error may last."""

    permanent: bool = False
    recoverable: bool = False
    recovery: float = 300.0

    def healthy(self, event: Event, now: float) -> bool:
        if event.status is Status.PERMANENT_ERROR:
            return not self.permanent
        if event.status is Status.RECOVERABLE_ERROR and self.recoverable:
            return now < event.time + self.recovery
        return event.status is not Status.FATAL_ERROR

    def http_status(self, event: Event, now: float) -> int:
        """200, 500 for what is unhealthy, 503 for what is not running."""
        if not self.healthy(event, now):
            return 500
        return 200 if event.status is Status.OK or event.status.is_error else 503


@dataclass(frozen=True, slots=True)
class Health:
    """One level: its own event, and its parts by name."""

    event: Event
    parts: Mapping[str, Health] = field(default_factory=dict)

    def body(self, policy: ErrorPolicy, now: float, *, verbose: bool) -> dict[str, Any]:
        """The object that healthcheckv2 answers with, without `start_time`."""
        event = self.event
        body: dict[str, Any] = {"healthy": policy.healthy(event, now), "status": event.status.label}
        if event.error is not None:
            body["error"] = str(event.error)
        body["status_time"] = rfc3339(event.time)
        if verbose and event.attributes:
            body["attributes"] = dict(event.attributes)
        if verbose and self.parts:
            body["components"] = {name: part.body(policy, now, verbose=True) for name, part in self.parts.items()}
        return body


class Aggregator:
    """Keeps the last event of each instance and answers for all of them together."""

    def __init__(self, policy: ErrorPolicy) -> None:
        self._only_recoverable = policy.recoverable and not policy.permanent
        self._events: dict[str, dict[str, Event]] = {}

    def record(self, source: InstanceId, event: Event) -> None:
        scopes = [EXTENSIONS] if source.kind is Kind.EXTENSION else [f"pipeline:{name}" for name in source.pipelines]
        for scope in scopes:
            self._events.setdefault(scope, {})[str(source)] = event

    def health(self) -> Health | None:
        """Of the whole collector; None before the first event."""
        parts = {scope: self._scope(events) for scope, events in sorted(self._events.items())}
        return Health(self._aggregate([part.event for part in parts.values()]), parts) if parts else None

    def pipeline(self, name: str) -> Health | None:
        """Of one pipeline, or of `extensions`; None for one that is not there."""
        events = self._events.get(EXTENSIONS if name == EXTENSIONS else f"pipeline:{name}")
        return self._scope(events) if events else None

    def _scope(self, events: Mapping[str, Event]) -> Health:
        parts = {name: Health(event) for name, event in sorted(events.items())}
        return Health(self._aggregate(events.values()), parts)

    def _aggregate(self, found: Iterable[Event]) -> Event:
        """An error carries the event that came first, which is its cause; everything else the latest."""
        events = list(found)
        status = self._status({event.status for event in events})
        matching = [event for event in events if event.status is status]
        if not matching:
            return Event(status, max(event.time for event in events))
        pick = min if status.is_error else max
        return pick(matching, key=lambda event: event.time)

    def _status(self, seen: set[Status]) -> Status:
        if len(seen) == 1:
            return next(iter(seen))
        for status in (Status.FATAL_ERROR, Status.STARTING, Status.STOPPING):
            if status in seen:
                return status
        if Status.STOPPED in seen:
            return Status.STOPPING
        errors = [Status.PERMANENT_ERROR, Status.RECOVERABLE_ERROR]
        if self._only_recoverable:
            errors.reverse()
        return next((status for status in errors if status in seen), Status.NONE)


def rfc3339(time: float) -> str:
    """`2026-11-26T08:30:00.125Z` of seconds since 1970."""
    from datetime import datetime, timezone  # noqa: PLC0415 - weighs 0.3 MiB, and a board that nobody asks needs it not

    return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
