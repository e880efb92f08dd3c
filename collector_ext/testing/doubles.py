"""Stand-ins for what a component meets: a host, settings, a consumer that keeps what it gets."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from collector_ext.component import Component, Settings
from collector_ext.ids import ComponentId
from collector_ext.pdata import Data
from collector_ext.selfmetrics import Meter
from collector_ext.status import Event, Reporter, Status


class Host:
    """Keeps the events that the state machine allowed, and those that it refused."""

    def __init__(self, extensions: Mapping[ComponentId, Component] | None = None) -> None:
        self._extensions = dict(extensions or {})
        self.events: list[Event] = []
        self.refused: list[tuple[Status, Event]] = []
        self._reporter = Reporter(self.events.append, lambda status, event: self.refused.append((status, event)))
        self._reporter.report(Event(Status.STARTING, time.time()))

    @property
    def extensions(self) -> Mapping[ComponentId, Component]:
        return self._extensions

    def report_status(
        self, status: Status, error: Exception | None = None, attributes: Mapping[str, str] | None = None
    ) -> None:
        self._reporter.report(Event(status, time.time(), error, attributes or {}))

    @property
    def status(self) -> Status:
        return self._reporter.current


class Sink:
    """A consumer that keeps what it gets, and raises `error` instead while it is set."""

    def __init__(self) -> None:
        self.batches: list[Data] = []
        self.error: Exception | None = None

    async def consume(self, data: Data) -> None:
        if self.error:
            raise self.error
        self.batches.append(data)


def settings(name: str, meter: Meter | None = None) -> Settings:
    """For a component of this type."""
    return Settings(ComponentId(name), logging.getLogger(f"collector.test.{name}"), meter or Meter())
