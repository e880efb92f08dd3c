"""Components that say what happens to them, for tests of whoever runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collector_ext.component import (
    Component,
    Consumer,
    Consumers,
    ExporterFactory,
    ExtensionFactory,
    Factory,
    Host,
    ProcessorFactory,
    ReceiverFactory,
    Settings,
    Stability,
)
from collector_ext.config import CollectorConfig, parse
from collector_ext.ids import ComponentId, InstanceId, Kind
from collector_ext.pdata import Data
from collector_ext.registry import Fixed
from collector_ext.settings.bind import Secret
from collector_ext.settings.compose import compose
from collector_ext.settings.nodes import Table
from collector_ext.status import Event, Status


@dataclass(frozen=True, slots=True)
class PlayedConfig:
    """`fail` is "start" or "shutdown"; `say` a status that is reported in the start; `after` extensions, by id."""

    fail: str = ""
    say: str = ""
    after: tuple[ComponentId, ...] = ()
    password: Secret = Secret("")


class Story:
    """What happened, in order, and the components by their instance's name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[tuple[str, Status]] = []
        self.made: dict[str, Played] = {}
        self.config: Mapping[str, Any] = {}

    def statuses(self, name: str) -> list[Status]:
        return [status for source, status in self.events if source == name]


class Played:
    """A component of any kind."""

    def __init__(
        self, story: Story, kind: Kind, settings: Settings, config: PlayedConfig, consumer: Consumer | None
    ) -> None:
        self.story, self.config, self.next = story, config, consumer
        self.name = f"{kind.value}:{settings.id}"
        self.host: Host | None = None
        self.got: list[Data] = []
        self.error: Exception | None = None
        story.made[self.name] = self

    async def start(self, host: Host) -> None:
        self.host = host
        self.story.lines.append(f"start {self.name}")
        if self.config.say:
            host.report_status(Status[self.config.say], ValueError("said"))
        if self.config.fail == "start":
            raise OSError("cannot start")

    async def shutdown(self) -> None:
        self.story.lines.append(f"stop {self.name}")
        if self.config.fail == "shutdown":
            raise OSError("cannot stop")

    async def consume(self, data: Data) -> None:
        if self.error:
            raise self.error
        self.got.append(data)
        if self.next:
            await self.next.consume(data)


class Watcher(Played):
    """An extension that watches everything there is to watch."""

    def dependencies(self) -> Sequence[ComponentId]:
        return self.config.after

    def component_status_changed(self, source: InstanceId, event: Event) -> None:
        self.story.events.append((str(source), event.status))

    async def ready(self) -> None:
        self.story.lines.append("ready")

    async def not_ready(self) -> None:
        self.story.lines.append("not ready")

    async def notify_config(self, config: Mapping[str, Any]) -> None:
        self.story.lines.append("config")
        self.story.config = config


def factories(story: Story, types: Sequence[str] = ("played",)) -> list[Factory]:
    """One of each kind for each type, and the extension `watcher`."""

    def extension(settings: Settings, config: PlayedConfig) -> Component:
        return Played(story, Kind.EXTENSION, settings, config, None)

    def watcher(settings: Settings, config: PlayedConfig) -> Component:
        return Watcher(story, Kind.EXTENSION, settings, config, None)

    def receiver(settings: Settings, config: PlayedConfig, consumers: Consumers) -> Component:
        return Played(story, Kind.RECEIVER, settings, config, consumers)

    def processor(settings: Settings, config: PlayedConfig, consumer: Consumer) -> Played:
        return Played(story, Kind.PROCESSOR, settings, config, consumer)

    def exporter(settings: Settings, config: PlayedConfig) -> Played:
        return Played(story, Kind.EXPORTER, settings, config, None)

    made: list[Factory] = [ExtensionFactory("watcher", Stability.STABLE, PlayedConfig, watcher)]
    for name in types:
        made.append(ExtensionFactory(name, Stability.STABLE, PlayedConfig, extension))
        made.append(ReceiverFactory(name, Stability.STABLE, PlayedConfig, receiver))
        made.append(ProcessorFactory(name, Stability.STABLE, PlayedConfig, processor))
        made.append(ExporterFactory(name, Stability.STABLE, PlayedConfig, exporter))
    return made


def configure(text: str, *made: Factory) -> CollectorConfig:
    """Raises ConfigError."""
    tree = compose("c.yaml", text.encode())
    assert isinstance(tree, Table)
    return parse(tree, Fixed(made))
