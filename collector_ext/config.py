"""A collector's configuration: components with their bound configs, and what the service runs. Errors in the
Collector's words, paths joined by `::`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from collector_ext.component import ExtensionFactory, Factory
from collector_ext.ids import ComponentId, Kind, PipelineId, parse_component, parse_pipeline
from collector_ext.registry import Registry
from collector_ext.settings.bind import Problems, bind, join, validate
from collector_ext.settings.nodes import Node, Scalar, Table
from edgesync.wire.errors import ConfigError

SECTIONS = {kind: f"{kind.value}s" for kind in Kind}
COMPONENTS = 200
"""Components of one configuration."""


@dataclass(frozen=True, slots=True)
class LogsTelemetry:
    level: Literal["debug", "info", "warn", "error"] = "info"


@dataclass(frozen=True, slots=True)
class MetricsTelemetry:
    """`address` is where Prometheus finds /metrics, `host:port` or `unix:///path`; "" for nowhere."""

    level: Literal["none", "basic", "normal", "detailed"] = "normal"
    address: str = ""


@dataclass(frozen=True, slots=True)
class Telemetry:
    logs: LogsTelemetry = field(default_factory=LogsTelemetry)
    metrics: MetricsTelemetry = field(default_factory=MetricsTelemetry)


@dataclass(frozen=True, slots=True)
class Pipeline:
    receivers: tuple[ComponentId, ...] = ()
    processors: tuple[ComponentId, ...] = ()
    exporters: tuple[ComponentId, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    telemetry: Telemetry = field(default_factory=Telemetry)
    extensions: tuple[ComponentId, ...] = ()
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configured:
    """A component that is configured: its factory and its config."""

    factory: Factory
    config: Any


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """Everything that is configured, and of it what `service` runs."""

    components: Mapping[Kind, Mapping[ComponentId, Configured]]
    service: ServiceConfig
    pipelines: Mapping[PipelineId, Pipeline]

    def effective(self) -> dict[str, Any]:
        """In the form of the file."""
        sections = {
            SECTIONS[kind]: {str(name): one.config for name, one in found.items()}
            for kind, found in self.components.items()
        }
        return {**sections, "service": self.service}


def parse(tree: Table, registry: Registry) -> CollectorConfig:
    """Raises ConfigError with everything that is wrong, a line each."""
    problems = Problems()
    known = [*SECTIONS.values(), "service"]
    if unknown := [key for key in tree.values if key not in known]:
        problems.add(tree, "", f"has invalid keys: {', '.join(unknown)[:200]} (known are {', '.join(known)})")
    components = {kind: _components(tree, kind, registry, problems) for kind in Kind}
    node = tree.values.get("service", Table(where=tree.where))
    service = bind(ServiceConfig(), node, "service", problems)
    pipelines = _pipelines(service, node, problems)
    config = CollectorConfig(components, service, pipelines)
    _check(config, node, problems)
    problems.raise_any()
    return config


def _components(tree: Table, kind: Kind, registry: Registry, problems: Problems) -> dict[ComponentId, Configured]:
    section = SECTIONS[kind]
    node = tree.values.get(section)
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return {}
    if not isinstance(node, Table) or len(node.values) > COMPONENTS:
        problems.add(node, section, f"found {node}, expected a mapping of at most {COMPONENTS} components")
        return {}
    found = {}
    for text, body in node.values.items():
        try:
            name = parse_component(text)
            factory = registry.factory(kind, name.type)
        except ConfigError as error:
            problems.add(body, section, str(error))
            continue
        if factory is None:
            valid = " ".join(registry.types(kind))
            problems.add(body, section, f'unknown type: "{name.type}" for id: "{name}" (valid values: [{valid}])')
        elif name in found:
            problems.add(body, section, f'duplicate name "{name}" after trimming spaces')
        else:
            path = join(section, str(name))
            config = bind(factory.create_default_config(), body, path, problems)
            validate(config, body, path, problems)
            found[name] = Configured(factory, config)
    return found


def _pipelines(service: ServiceConfig, node: Node, problems: Problems) -> dict[PipelineId, Pipeline]:
    pipelines = {}
    for text, pipeline in service.pipelines.items():
        try:
            pipelines[parse_pipeline(text)] = pipeline
        except ConfigError as error:
            problems.add(_at(node, "pipelines", text), "service::pipelines", str(error))
    return pipelines


def _check(config: CollectorConfig, node: Node, problems: Problems) -> None:
    extensions, at = config.components[Kind.EXTENSION], _at(node, "extensions")
    for name in config.service.extensions:
        if name not in extensions:
            text = f'references extension "{name}" which is not configured'
            problems.add(at, "service::extensions", text)
    for twice in _twice(config.service.extensions):
        problems.add(at, "service::extensions", f'references extension "{twice}" multiple times')
    # A board may run extensions alone, to watch its memory; the Collector asks for a feature gate for that.
    if not config.pipelines and not config.service.extensions and not problems.lines:
        problems.add(node, "service", "must have at least one pipeline or extension")
    for pipeline, parts in config.pipelines.items():
        _check_pipeline(config, pipeline, parts, _at(node, "pipelines", str(pipeline)), problems)


def _check_pipeline(
    config: CollectorConfig, name: PipelineId, pipeline: Pipeline, node: Node, problems: Problems
) -> None:
    path = f"service::pipelines::{name}"
    if not pipeline.receivers:
        problems.add(node, path, "must have at least one receiver")
    if not pipeline.exporters:
        problems.add(node, path, "must have at least one exporter")
    named = {
        Kind.RECEIVER: pipeline.receivers,
        Kind.PROCESSOR: pipeline.processors,
        Kind.EXPORTER: pipeline.exporters,
    }
    for kind, references in named.items():
        for reference in references:
            configured = config.components[kind].get(reference)
            if configured is None:
                problems.add(node, path, f'references {kind.value} "{reference}" which is not configured')
            elif not isinstance(configured.factory, ExtensionFactory) and name.signal not in configured.factory.signals:
                problems.add(node, path, f'{kind.value} "{reference}" does not support {name.signal.value}')
        for twice in _twice(references):
            problems.add(node, path, f'references {kind.value} "{twice}" multiple times')


def _twice(names: tuple[ComponentId, ...]) -> list[ComponentId]:
    return sorted({name for name in names if names.count(name) > 1})


def _at(node: Node, *path: str) -> Node:
    """The deepest node on the way that is there."""
    for key in path:
        if isinstance(node, Table) and key in node.values:
            node = node.values[key]
    return node
