"""What a component says of itself: the Collector's status state machine, one for each running instance.

| from | to |
|---|---|
| None | Starting |
| Starting | OK, RecoverableError, PermanentError, FatalError, Stopping |
| OK | OK, RecoverableError, PermanentError, FatalError, Stopping |
| RecoverableError | RecoverableError, OK, PermanentError, FatalError, Stopping |
| PermanentError | Stopping |
| FatalError | |
| Stopping | RecoverableError, PermanentError, FatalError, Stopped |
| Stopped | |

Every allowed transition is told to the watchers, the repeats of OK and RecoverableError too: who looks periodically
reports on change only. Pure: the time of an event is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

ECHO_LIMIT = 100
"""Events that one event may bring about in its own delivery; more is a watcher that answers itself for ever."""


class Status(IntEnum):
    """In the Collector's order, which `collector_health_status` shows as numbers."""

    NONE = 0
    STARTING = 1
    OK = 2
    RECOVERABLE_ERROR = 3
    PERMANENT_ERROR = 4
    FATAL_ERROR = 5
    STOPPING = 6
    STOPPED = 7

    @property
    def label(self) -> str:
        """`StatusOK`, `StatusRecoverableError`: the form in JSON and logs."""
        return _LABELS[self]

    @property
    def is_error(self) -> bool:
        return self in (Status.RECOVERABLE_ERROR, Status.PERMANENT_ERROR, Status.FATAL_ERROR)


_LABELS: Mapping[Status, str] = {
    status: "Status" + ("OK" if status is Status.OK else status.name.title().replace("_", "")) for status in Status
}

_ENDINGS = frozenset({Status.PERMANENT_ERROR, Status.FATAL_ERROR, Status.STOPPING})
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.NONE: frozenset({Status.STARTING}),
    Status.STARTING: _ENDINGS | {Status.OK, Status.RECOVERABLE_ERROR},
    Status.OK: _ENDINGS | {Status.OK, Status.RECOVERABLE_ERROR},
    Status.RECOVERABLE_ERROR: _ENDINGS | {Status.OK, Status.RECOVERABLE_ERROR},
    Status.PERMANENT_ERROR: frozenset({Status.STOPPING}),
    Status.FATAL_ERROR: frozenset(),
    Status.STOPPING: frozenset({Status.RECOVERABLE_ERROR, Status.PERMANENT_ERROR, Status.FATAL_ERROR, Status.STOPPED}),
    Status.STOPPED: frozenset(),
}

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Event:
    """One report. `time` is in seconds since 1970; `attributes` say more, in words of the component."""

    status: Status
    time: float
    error: Exception | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


class Reporter:
    """The state of one instance. Its events reach `emit` one after the other, in the order in which they were reported,
    also those that are reported while another is delivered. What is not allowed goes to `refuse(from, event)` and
    changes nothing. Lives in the event loop's thread.
    """

    def __init__(self, emit: Callable[[Event], None], refuse: Callable[[Status, Event], None]) -> None:
        self._emit, self._refuse = emit, refuse
        self._pending: deque[Event] = deque()
        self._delivering = False
        self.current = Status.NONE

    def report(self, event: Event) -> None:
        self._pending.append(event)
        if self._delivering:
            return
        self._delivering = True
        try:
            for _ in range(ECHO_LIMIT):
                if not self._pending:
                    break
                self._step(self._pending.popleft())
            while self._pending:
                self._refuse(self.current, self._pending.popleft())
        finally:
            self._delivering = False

    def ok_if_starting(self, time: float) -> None:
        """After a clean start: a component that reported something itself keeps its own."""
        if self.current is Status.STARTING:
            self.report(Event(Status.OK, time))

    def _step(self, event: Event) -> None:
        if event.status not in TRANSITIONS[self.current]:
            self._refuse(self.current, event)
            return
        self.current = event.status
        self._emit(event)
