"""What the service runs, in the order in which it starts: exporters, processors from the back, receivers. Pure but for
the factories, which do no I/O.

    receiver > fan-out to its pipelines > processors of each > fan-out to the exporters
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collector_ext.component import (
    Component,
    Consumer,
    Consumers,
    Dependent,
    ExporterFactory,
    ExtensionFactory,
    ProcessorFactory,
    ReceiverFactory,
    Settings,
)
from collector_ext.config import CollectorConfig, Configured
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.ids import ComponentId, InstanceId, Kind, PipelineId, Signal
from collector_ext.pdata import Data
from edgesync.wire.errors import ConfigError

MakeSettings = Callable[[Kind, ComponentId], Settings]


@dataclass(frozen=True, slots=True)
class Instance:
    id: InstanceId
    component: Component


class FanOut:
    """Gives each batch to every consumer, also after one refused it. Permanent if one is permanent: a retry would bring
    the data twice to those that took it, and never to that one.
    """

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self._consumers = consumers

    async def consume(self, data: Data) -> None:
        errors: list[PermanentError | RetryableError] = []
        for consumer in self._consumers:
            try:
                await consumer.consume(data)
            except (PermanentError, RetryableError) as error:
                errors.append(error)
        for refused in errors:
            if isinstance(refused, PermanentError):
                raise refused
        if errors:
            raise max(errors, key=lambda refused: refused.delay if isinstance(refused, RetryableError) else 0.0)


def extensions(config: CollectorConfig, make_settings: MakeSettings) -> list[Instance]:
    """The enabled extensions, those that others depend on first. Raises ConfigError for a cycle, which it names."""
    made: dict[ComponentId, Component] = {}
    for name in config.service.extensions:
        configured = config.components[Kind.EXTENSION][name]
        assert isinstance(configured.factory, ExtensionFactory)
        made[name] = configured.factory.create(make_settings(Kind.EXTENSION, name), configured.config)
    return [Instance(InstanceId(Kind.EXTENSION, name), made[name]) for name in _ordered(made)]


def pipelines(config: CollectorConfig, make_settings: MakeSettings) -> list[Instance]:
    """All components of all pipelines, in the order of their start."""
    exporters = _exporters(config, make_settings)
    processors: list[Instance] = []
    entries: dict[PipelineId, Consumer] = {}
    for name, pipeline in config.pipelines.items():
        consumer: Consumer = _one_or_all([exporters[exporter][1] for exporter in pipeline.exporters])
        for processor in reversed(pipeline.processors):
            configured = config.components[Kind.PROCESSOR][processor]
            assert isinstance(configured.factory, ProcessorFactory)
            made = configured.factory.create(make_settings(Kind.PROCESSOR, processor), configured.config, consumer)
            processors.append(Instance(InstanceId(Kind.PROCESSOR, processor, (name,)), made))
            consumer = made
        entries[name] = consumer
    return [*(one for one, _ in exporters.values()), *processors, *_receivers(config, make_settings, entries)]


def _exporters(config: CollectorConfig, make_settings: MakeSettings) -> dict[ComponentId, tuple[Instance, Consumer]]:
    made: dict[ComponentId, tuple[Instance, Consumer]] = {}
    for name, (configured, users) in _used(config, Kind.EXPORTER).items():
        assert isinstance(configured.factory, ExporterFactory)
        component = configured.factory.create(make_settings(Kind.EXPORTER, name), configured.config)
        made[name] = Instance(InstanceId(Kind.EXPORTER, name, users), component), component
    return made


def _receivers(
    config: CollectorConfig, make_settings: MakeSettings, entries: Mapping[PipelineId, Consumer]
) -> list[Instance]:
    made = []
    for name, (configured, users) in _used(config, Kind.RECEIVER).items():
        assert isinstance(configured.factory, ReceiverFactory)
        by_signal = {signal: [entries[user] for user in users if user.signal is signal] for signal in Signal}
        consumers = Consumers(**{signal.value: _one_or_all(found) for signal, found in by_signal.items() if found})
        component = configured.factory.create(make_settings(Kind.RECEIVER, name), configured.config, consumers)
        made.append(Instance(InstanceId(Kind.RECEIVER, name, users), component))
    return made


def _used(config: CollectorConfig, kind: Kind) -> dict[ComponentId, tuple[Configured, tuple[PipelineId, ...]]]:
    """The components that a pipeline names, with those pipelines, in the order of the file."""
    users: dict[ComponentId, list[PipelineId]] = {}
    for name, pipeline in config.pipelines.items():
        for reference in getattr(pipeline, f"{kind.value}s"):
            users.setdefault(reference, []).append(name)
    found = config.components[kind]
    return {name: (one, tuple(users[name])) for name, one in found.items() if name in users}


def _one_or_all(consumers: Sequence[Consumer]) -> Consumer:
    return consumers[0] if len(consumers) == 1 else FanOut(consumers)


def _ordered(made: Mapping[ComponentId, Any]) -> list[ComponentId]:
    order: list[ComponentId] = []
    way: list[ComponentId] = []

    def visit(name: ComponentId) -> None:
        if name in order:
            return
        if name in way:
            cycle = " -> ".join(str(one) for one in [*way[way.index(name) :], name])
            raise ConfigError(f"service::extensions: unable to order extensions by dependencies, cycle found: {cycle}")
        way.append(name)
        component = made[name]
        for other in component.dependencies() if isinstance(component, Dependent) else ():
            if other not in made:
                raise ConfigError(f'service::extensions: "{name}" depends on extension "{other}", which is not enabled')
            visit(other)
        way.pop()
        order.append(name)

    for name in made:
        visit(name)
    return order
