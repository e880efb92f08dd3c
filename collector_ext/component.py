"""The contract of components: what they are made of, what they may be besides, and how they are made.

A component has `start` and `shutdown`. `start` returns quickly and leaves long work to tasks; `shutdown` ends that
work and flushes, and is called also without `start` and twice. What else a component can do is found by `isinstance`
of the optional protocols below, as in the Collector. Everything is called in one event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from collector_ext.ids import ComponentId, InstanceId, Kind, Signal
from collector_ext.pdata import Data, Logs, Metrics, Traces
from collector_ext.selfmetrics import Meter
from collector_ext.status import Event, Status


class Stability(IntEnum):
    """In the Collector's order."""

    UNDEFINED = 0
    UNMAINTAINED = 1
    DEPRECATED = 2
    DEVELOPMENT = 3
    ALPHA = 4
    BETA = 5
    STABLE = 6


class Host(Protocol):
    """What a component gets at its start: itself among the others."""

    @property
    def extensions(self) -> Mapping[ComponentId, Component]:
        """The extensions that run, by id."""
        ...

    def report_status(
        self, status: Status, error: Exception | None = None, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Say how this component is. FATAL_ERROR shuts the collector down. From the event loop's thread only."""
        ...


class Component(Protocol):
    async def start(self, host: Host) -> None: ...
    async def shutdown(self) -> None: ...


@runtime_checkable
class Consumer(Protocol):
    """Takes one batch. Returning means that it is taken care of; PermanentError and RetryableError of `consumererror`
    say that it is not.
    """

    async def consume(self, data: Data) -> None: ...


class ConsumingComponent(Component, Consumer, Protocol):
    """A processor or an exporter."""


@runtime_checkable
class StatusWatcher(Protocol):
    """An extension that hears every event of every component, also before its own start and after its shutdown."""

    def component_status_changed(self, source: InstanceId, event: Event) -> None: ...


@runtime_checkable
class Dependent(Protocol):
    """An extension that starts after others, and stops before them."""

    def dependencies(self) -> Sequence[ComponentId]: ...


@runtime_checkable
class PipelineWatcher(Protocol):
    """An extension that hears when all pipelines have started, and before the first of them stops."""

    async def ready(self) -> None: ...
    async def not_ready(self) -> None: ...


@runtime_checkable
class ConfigWatcher(Protocol):
    """An extension that gets the effective configuration, secrets blacked out, before the pipelines start."""

    async def notify_config(self, config: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class BuildInfo:
    command: str = "edgesync-collector"
    version: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a component is made with besides its config: its id, its logger and its own metrics."""

    id: ComponentId
    logger: logging.Logger
    meter: Meter
    build: BuildInfo = field(default_factory=BuildInfo)


@dataclass(frozen=True, slots=True)
class Consumers:
    """Where a receiver gives its data, for each signal that a pipeline of it carries; None for the others."""

    metrics: Consumer | None = None
    traces: Consumer | None = None
    logs: Consumer | None = None

    async def consume(self, data: Data) -> None:
        """To the consumer of its signal. Raises LookupError where no pipeline carries that signal."""
        consumer = self.of(signal_of(data))
        if consumer is None:
            raise LookupError(f"no pipeline of {signal_of(data).value}")
        await consumer.consume(data)

    def of(self, signal: Signal) -> Consumer | None:
        return {Signal.METRICS: self.metrics, Signal.TRACES: self.traces, Signal.LOGS: self.logs}[signal]


def signal_of(data: Data) -> Signal:
    match data:
        case Metrics():
            return Signal.METRICS
        case Traces():
            return Signal.TRACES
        case Logs():
            return Signal.LOGS


ALL_SIGNALS = frozenset(Signal)

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class ExtensionFactory(Generic[C]):
    """What an entry point names. `create_default_config` makes a new frozen dataclass each time; `create` does no I/O:
    that is the start's.
    """

    type: str
    stability: Stability
    create_default_config: Callable[[], C]
    create: Callable[[Settings, C], Component]
    kind: Kind = field(default=Kind.EXTENSION, init=False)


@dataclass(frozen=True, slots=True)
class ReceiverFactory(Generic[C]):
    """One instance serves every pipeline that names it."""

    type: str
    stability: Stability
    create_default_config: Callable[[], C]
    create: Callable[[Settings, C, Consumers], Component]
    signals: frozenset[Signal] = ALL_SIGNALS
    kind: Kind = field(default=Kind.RECEIVER, init=False)


@dataclass(frozen=True, slots=True)
class ProcessorFactory(Generic[C]):
    """One instance for each pipeline, which gives to the consumer behind it."""

    type: str
    stability: Stability
    create_default_config: Callable[[], C]
    create: Callable[[Settings, C, Consumer], ConsumingComponent]
    signals: frozenset[Signal] = ALL_SIGNALS
    kind: Kind = field(default=Kind.PROCESSOR, init=False)


@dataclass(frozen=True, slots=True)
class ExporterFactory(Generic[C]):
    """One instance serves every pipeline that names it."""

    type: str
    stability: Stability
    create_default_config: Callable[[], C]
    create: Callable[[Settings, C], ConsumingComponent]
    signals: frozenset[Signal] = ALL_SIGNALS
    kind: Kind = field(default=Kind.EXPORTER, init=False)


Factory = ExtensionFactory[Any] | ReceiverFactory[Any] | ProcessorFactory[Any] | ExporterFactory[Any]
