"""The contract that every component keeps, as checks: call `check_factory`, then `check_life` in an event loop.

def test_my_receiver_keeps_the_contract() -> None:
check_factory(FACTORY)
asyncio.run(check_life(FACTORY, MyConfig(endpoint="localhost:0")))
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from collector_ext.component import (
    Component,
    Consumer,
    Consumers,
    ExporterFactory,
    ExtensionFactory,
    Factory,
    ProcessorFactory,
    ReceiverFactory,
    Settings,
)
from collector_ext.ids import Kind, parse_component
from collector_ext.registry import Registry
from collector_ext.settings.bind import Problems, bind, hints, redacted
from collector_ext.settings.nodes import Scalar, Table
from collector_ext.status import Status
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.wire.errors import ConfigError

START_LIMIT = 10.0
"""Seconds for a start and for a shutdown: long work belongs into tasks."""
LIVE = (Status.STARTING, Status.OK, Status.RECOVERABLE_ERROR)
"""What a component may be after its start."""


def check_factory(factory: Factory) -> None:
    """Type, stability and default config, without making a component."""
    assert parse_component(factory.type).name == "", f"{factory.type!r} is no component type"
    default, other = factory.create_default_config(), factory.create_default_config()
    kind: Any = type(default)
    assert dataclasses.is_dataclass(default), "the default config is no dataclass"
    assert kind.__dataclass_params__.frozen, "the default config is not frozen"
    assert default == other, "two default configs differ"
    assert default is not other or not dataclasses.fields(kind), "two default configs are the same object"
    assert hints(kind) is not None, "the types of the config's fields cannot be read"
    redacted(default)
    for node, what in ((Scalar(None, quoted=False, where="test"), "a null body"), (Table(), "an empty body")):
        problems = Problems()
        assert bind(default, node, "test", problems) == default, f"{what} is not the default config"
        assert not problems.lines, problems.lines
    problems = Problems()
    bind(default, Table({"no such key": Scalar("1", quoted=False, where="test")}), "test", problems)
    assert len(problems.lines) == 1, "an unknown key is no problem"
    if not isinstance(factory, ExtensionFactory):
        assert factory.signals, f"{factory.type} carries no signal"


def check_registered(factory: Factory, registry: Registry) -> None:
    """Its entry point leads to it."""
    assert registry.factory(factory.kind, factory.type) is factory, f"the entry point of {factory.type} is missing"


async def check_life(
    factory: Factory, config: Any, prepare: Callable[[Component], None] = lambda _component: None
) -> None:
    """Start and shutdown in every order that a service may call them. `config` is one that can start here; `prepare`
    does to a component what must happen before its start, as to a Rider.
    """
    check = getattr(config, "validate", None)
    if callable(check):
        check()

    never_started = make(factory, config, settings(factory.type))
    await _limited(never_started.shutdown(), "shutdown without start")
    await _limited(never_started.shutdown(), "a second shutdown without start")

    for _ in range(2):  # what the first one leaves behind (a port, a file, a task) must not hinder the second
        before = asyncio.all_tasks()
        component, host = make(factory, config, settings(factory.type)), Host()
        prepare(component)
        await _limited(component.start(host), "start")
        assert host.status in (Status.STARTING, Status.OK, Status.RECOVERABLE_ERROR), (
            f"after start it is {host.status!r}"
        )
        host.report_status(Status.STOPPING)
        await _limited(component.shutdown(), "shutdown")
        await _limited(component.shutdown(), "a second shutdown")
        assert not host.refused, f"reports that the state machine refused: {host.refused}"
        left = {task for task in asyncio.all_tasks() - before if not task.done()}
        assert not left, f"tasks that outlive the shutdown: {left}"


def make(factory: Factory, config: Any, made_with: Settings, sink: Consumer | None = None) -> Component:
    """A component whose data go to `sink`."""
    consumer = sink or Sink()
    match factory:
        case ExtensionFactory():
            component = factory.create(made_with, config)
        case ReceiverFactory():
            consumers = {signal.value: consumer for signal in factory.signals}
            component = factory.create(made_with, config, Consumers(**consumers))
        case ProcessorFactory():
            component = factory.create(made_with, config, consumer)
        case ExporterFactory():
            component = factory.create(made_with, config)
    if factory.kind in (Kind.PROCESSOR, Kind.EXPORTER):
        assert isinstance(component, Consumer), f"a {factory.kind.value} has `consume`"
    return component


def refusal(factory: Factory, **changes: Any) -> str:
    """What `validate()` of the default config with these changes says. Raises AssertionError where it says nothing."""
    config = dataclasses.replace(factory.create_default_config(), **changes)
    try:
        config.validate()
    except (ConfigError, ValueError) as error:
        return str(error)
    raise AssertionError(f"{config} is valid")


async def _limited(awaitable: Any, what: str) -> None:
    try:
        await asyncio.wait_for(awaitable, START_LIMIT)
    except asyncio.TimeoutError as error:
        raise AssertionError(f"{what} takes more than {START_LIMIT:.0f} s") from error
