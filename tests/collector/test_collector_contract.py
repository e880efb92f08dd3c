"""Every component that is installed keeps the contract, and the contract's checks find who does not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from parts import PlayedConfig, Story, factories

from collector_ext.component import Component, ExtensionFactory, Factory, Host, Stability
from collector_ext.ids import Kind
from collector_ext.registry import EntryPoints
from collector_ext.settings.bind import Problems, validate
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_life, check_registered
from edgesync.host.telemetry import Rider, TelemetryPort
from edgesync.wire.errors import LinkError

REGISTRY = EntryPoints()
INSTALLED = [(kind, name) for kind in Kind for name in REGISTRY.types(kind)]
CAN_START: dict[str, dict[str, Any]] = {
    "health_check": {"endpoint": "localhost:0"},
    "memory_health": {"endpoint": "localhost:0"},
    "otlp_grpc": {"endpoint": "localhost:4317"},
    "otlp_http": {"endpoint": "http://localhost:4318"},
    "memory_limiter": {"check_interval": 1.0, "limit_percentage": 90},
}
"""What a component needs to start here, where its defaults are not enough."""
TESTS = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]


class NoLink:
    """An agent's connection while there is none."""

    async def send(self, _payload: bytes) -> None:
        raise LinkError("not connected")


def ride(component: Component) -> None:
    if isinstance(component, Rider):
        component.ride("demo.b01", TelemetryPort(), NoLink())


def installed(kind: Kind, name: str) -> Factory:
    factory = REGISTRY.factory(kind, name)
    assert factory is not None
    return factory


@pytest.mark.parametrize(("kind", "name"), INSTALLED, ids=str)
def test_an_installed_component_keeps_the_contract(kind: Kind, name: str) -> None:
    factory = installed(kind, name)
    check_factory(factory)
    check_registered(factory, REGISTRY)
    config = dataclasses.replace(factory.create_default_config(), **CAN_START.get(name, {}))
    problems = Problems()
    validate(config, None, name, problems)
    if problems.lines:  # it needs a broker or a directory: then its own tests hold it to the contract
        module = f"collector_ext.{kind.value}.{name}.factory"
        assert any(module in text and "check_life(FACTORY" in text for text in TESTS), problems.lines
    else:
        asyncio.run(check_life(factory, config, ride))


@pytest.mark.parametrize("factory", factories(Story()), ids=lambda factory: f"{factory.kind.value}-{factory.type}")
def test_the_components_that_the_tests_play_keep_it_too(factory: Factory) -> None:
    check_factory(factory)
    asyncio.run(check_life(factory, PlayedConfig()))


# --- the checks themselves ----------------------------------------------------------------------------------------


class Breaks:
    """A component that breaks one rule."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.tasks: list[asyncio.Task[None]] = []
        self.started = False

    async def start(self, host: Host) -> None:
        self.started = True
        if self.rule == "fails":
            host.report_status(Status.FATAL_ERROR)
        if self.rule == "leaves a task":
            self.tasks.append(asyncio.create_task(asyncio.sleep(3600)))
        if self.rule == "reports nonsense":
            host.report_status(Status.STOPPED)

    async def shutdown(self) -> None:
        if self.rule == "needs a start":
            assert self.started, "not started"
        if self.rule == "once":
            self.rule = "twice"
        elif self.rule == "twice":
            raise AssertionError("shut down twice")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("fails", "after start it is"),
        ("leaves a task", "tasks that outlive the shutdown"),
        ("reports nonsense", "reports that the state machine refused"),
        ("needs a start", "not started"),
        ("once", "shut down twice"),
    ],
)
def test_a_life_that_breaks_a_rule_is_found(rule: str, message: str) -> None:
    factory: Factory = ExtensionFactory(
        "breaks", Stability.ALPHA, PlayedConfig, lambda _settings, _config: Breaks(rule)
    )
    with pytest.raises(AssertionError, match=message):
        asyncio.run(check_life(factory, PlayedConfig()))


@dataclass(slots=True)
class Mutable:
    a: int = 0


COUNTER = iter(range(1000))


@dataclass(frozen=True, slots=True)
class Fickle:
    a: int = 0


@pytest.mark.parametrize(
    ("name", "default", "message"),
    [
        ("breaks", dict, "no dataclass"),
        ("breaks", Mutable, "not frozen"),
        ("breaks", lambda: Fickle(next(COUNTER)), "two default configs differ"),
        ("no-type", PlayedConfig, "invalid type"),
        ("breaks/name", PlayedConfig, "no component type"),
    ],
)
def test_a_factory_that_breaks_a_rule_is_found(name: str, default: Callable[[], Any], message: str) -> None:
    factory: Factory = ExtensionFactory(name, Stability.ALPHA, default, lambda _settings, _config: Breaks(""))
    with pytest.raises(Exception, match=message):
        check_factory(factory)
