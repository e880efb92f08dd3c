"""A whole configuration: what it may say, and what is said where it is wrong."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import Story, configure, factories

from collector_ext.component import ExporterFactory
from collector_ext.config import parse
from collector_ext.ids import ComponentId, Kind, PipelineId, Signal, parse_component, parse_pipeline
from collector_ext.registry import EntryPoints
from collector_ext.settings.nodes import Table, from_json
from collector_ext.settings.worker import read
from edgesync.wire.errors import ConfigError

GOOD = """\
receivers: {played: }
processors: {played/a: , played/b: {fail: start}}
exporters: {played/x: , played/y: }
extensions: {watcher: , played: }
service:
  extensions: [watcher]
  pipelines:
    metrics: {receivers: [played], processors: [played/a, played/b], exporters: [played/x]}
    logs/edge: {receivers: [played], exporters: [played/x, played/y]}
"""


def test_a_configuration_has_its_components_and_pipelines() -> None:
    config = configure(GOOD, *factories(Story()))
    assert config.components[Kind.PROCESSOR][ComponentId("played", "b")].config.fail == "start"
    assert list(config.pipelines) == [PipelineId(Signal.METRICS), PipelineId(Signal.LOGS, "edge")]
    assert config.service.extensions == (ComponentId("watcher"),)
    assert config.service.telemetry.logs.level == "info"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{receivers: }", "c.yaml:1: service: must have at least one pipeline or extension"),
        ("connectors: {}\nx: ", "c.yaml:1: has invalid keys: connectors, x (known are receivers, processors,"),
        (
            "exporters: {otlp/a: }",
            'c.yaml:1: exporters: unknown type: "otlp" for id: "otlp/a" (valid values: [played])',
        ),
        ("exporters: {1x: }", "exporters: in '1x' id: invalid type '1x': must match ^[a-zA-Z]"),
        ("exporters: {played/: }", "exporters: in 'played/' id: the part after / should not be empty"),
        ("exporters: {/a: }", "exporters: in '/a' id: the part before / should not be empty"),
        ("exporters: {played: , ' played': }", 'exporters: duplicate name "played" after trimming spaces'),
        ("exporters: {played: {fial: x}}", "exporters::played: has invalid keys: fial (known are fail, say,"),
        ("service: {extensions: [x]}", 'service::extensions: references extension "x" which is not configured'),
        ("service: {pipelines: {metrics: }}", "service::pipelines::metrics: must have at least one receiver"),
        ("service: {pipelines: {metrics: }}", "service::pipelines::metrics: must have at least one exporter"),
        (
            "service: {pipelines: {metrics: {receivers: [played], exporters: [x]}}}",
            'service::pipelines::metrics: references exporter "x" which is not configured',
        ),
        (
            "processors: {played: }\nservice: {pipelines: {metrics/a: {processors: [played, played]}}}",
            'c.yaml:2: service::pipelines::metrics/a: references processor "played" multiple times',
        ),
        ("service: {pipelines: {metric: }}", "service::pipelines: in 'metric' id: unknown signal 'metric'"),
        ("service: {telemetry: {logs: {level: loud}}}", "service::telemetry::logs::level: found 'loud', expected one"),
        ("service: {telemetry: {metrics: {addres: x}}}", "service::telemetry::metrics: has invalid keys: addres"),
        ("exporters: [a]", "exporters: found a list of 1, expected a mapping of at most 200 components"),
    ],
)
def test_what_is_wrong_is_said_in_the_collectors_words(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configure(text, *factories(Story()))
    assert message in str(raised.value)


def test_a_component_that_does_not_carry_a_signal_is_refused_before_anything_starts() -> None:
    made = factories(Story())
    only = [
        dataclasses.replace(factory, signals=frozenset({Signal.TRACES}))
        for factory in made
        if isinstance(factory, ExporterFactory)
    ]
    rest = [factory for factory in made if not isinstance(factory, ExporterFactory)]
    with pytest.raises(ConfigError, match='service::pipelines::metrics: exporter "played/x" does not support metrics'):
        configure(GOOD, *rest, *only)


NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)


@given(st.from_regex(r"\A[a-zA-Z][0-9a-zA-Z_]{0,62}\Z"), NAMES)
def test_an_id_reads_back_as_it_is_written_spaces_around_its_parts_aside(kind: str, name: str) -> None:
    assert parse_component(kind) == ComponentId(kind)
    assert parse_component(f" {kind} / {name} ") == ComponentId(kind, name)
    assert str(parse_component(f"{kind}/{name}")) == f"{kind}/{name}"


@pytest.mark.parametrize(
    "text", ["", "/", "a/", "/a", "1a", "a-b", "a" * 64, "a/b c", "a/b\nc", "a/+", "a/" + "x" * 1025]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="id: "):
        parse_component(text)


def test_a_pipeline_is_a_signal_and_perhaps_a_name() -> None:
    assert parse_pipeline("traces/edge") == PipelineId(Signal.TRACES, "edge")
    assert str(parse_pipeline("logs")) == "logs"


# --- a file that Collector users have -----------------------------------------------------------------------------

FAMILIAR = """\
extensions:
  health_check: {endpoint: localhost:13133}
  memory_health:
    check_interval: 30s
    limit_percentage: 80
    spike_limit_percentage: 15
exporters:
  otlphttp: {endpoint: "http://${env:OTLP_HOST:-127.0.0.1}:4318", compression: gzip, tls: {insecure: true}}
  otlp/gateway: {endpoint: "gw:4317", tls: {insecure: true}, retry_on_failure: {enabled: true, max_elapsed_time: 0}}
receivers:
  hostmetrics: {collection_interval: 60s, scrapers: {memory: null}}
  otlp: {protocols: {grpc: null, http: null}}
processors: {memory_limiter: {check_interval: 1s, limit_mib: 48}, batch: null}
service:
  extensions: [health_check, memory_health]
  pipelines:
    metrics: {receivers: [hostmetrics, otlp], processors: [memory_limiter, batch], exporters: [otlphttp, otlp/gateway]}
"""


def test_a_file_that_collector_users_have_works_unchanged() -> None:
    tree = from_json(read(["c.yaml"], [FAMILIAR.encode()], "/nowhere", {})["tree"])
    assert isinstance(tree, Table)
    config = parse(tree, EntryPoints())
    memory = config.components[Kind.EXTENSION][ComponentId("memory_health")].config
    assert (memory.check_interval, memory.soft, memory.limit_percentage) == (30.0, 65, 80)
    assert config.components[Kind.EXPORTER][ComponentId("otlphttp")].config.endpoint == "http://127.0.0.1:4318"
    assert (
        config.components[Kind.EXPORTER][ComponentId("otlp", "gateway")].config.retry_on_failure.max_elapsed_time == 0
    )
    assert config.components[Kind.RECEIVER][ComponentId("otlp")].config.protocols.grpc.endpoint == "localhost:4317"
    assert config.components[Kind.PROCESSOR][ComponentId("memory_limiter")].config.limit_mib == 48
    assert config.components[Kind.RECEIVER][ComponentId("hostmetrics")].config.scrapers.memory is not None
