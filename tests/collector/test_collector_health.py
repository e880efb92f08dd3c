"""Many components' statuses as one, and its HTTP answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.health import Aggregator, ErrorPolicy
from collector_ext.ids import ComponentId, InstanceId, Kind, PipelineId, Signal
from collector_ext.status import Event, Status

METRICS, TRACES = PipelineId(Signal.METRICS), PipelineId(Signal.TRACES, "edge")
OTLP = InstanceId(Kind.EXPORTER, ComponentId("otlp"), (METRICS, TRACES))
HOST = InstanceId(Kind.RECEIVER, ComponentId("hostmetrics"), (METRICS,))
MEMORY = InstanceId(Kind.EXTENSION, ComponentId("memory_health"))


def aggregate(*statuses: Status, policy: ErrorPolicy | None = None) -> Event:
    """Of one pipeline whose components report these, each a second after the other."""
    aggregator = Aggregator(policy or ErrorPolicy())
    for at, status in enumerate(statuses):
        source = InstanceId(Kind.PROCESSOR, ComponentId("p", str(at)), (METRICS,))
        aggregator.record(source, Event(status, float(at), ValueError(str(at)) if status.is_error else None))
    health = aggregator.health()
    assert health is not None
    return health.event


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((Status.OK, Status.OK), Status.OK),
        ((Status.STOPPED, Status.STOPPED), Status.STOPPED),
        ((Status.OK, Status.STARTING, Status.FATAL_ERROR), Status.FATAL_ERROR),
        ((Status.OK, Status.STARTING, Status.STOPPING), Status.STARTING),
        ((Status.PERMANENT_ERROR, Status.STOPPING), Status.STOPPING),
        ((Status.OK, Status.STOPPED), Status.STOPPING),
        ((Status.OK, Status.RECOVERABLE_ERROR, Status.PERMANENT_ERROR), Status.PERMANENT_ERROR),
        ((Status.OK, Status.RECOVERABLE_ERROR), Status.RECOVERABLE_ERROR),
    ],
)
def test_the_worst_status_stands_for_all(statuses: tuple[Status, ...], expected: Status) -> None:
    assert aggregate(*statuses).status is expected
    assert aggregate(*reversed(statuses)).status is expected


def test_a_recoverable_error_outranks_a_permanent_one_where_only_recoverable_ones_count() -> None:
    both = (Status.PERMANENT_ERROR, Status.RECOVERABLE_ERROR)
    assert aggregate(*both, policy=ErrorPolicy(recoverable=True)).status is Status.RECOVERABLE_ERROR
    assert aggregate(*both, policy=ErrorPolicy(permanent=True, recoverable=True)).status is Status.PERMANENT_ERROR


def test_an_error_carries_its_earliest_event_and_all_else_the_latest() -> None:
    failed = aggregate(Status.RECOVERABLE_ERROR, Status.OK, Status.RECOVERABLE_ERROR)
    assert (failed.time, str(failed.error)) == (0.0, "0")
    assert aggregate(Status.OK, Status.OK, Status.OK).time == 2.0
    assert aggregate(Status.OK, Status.STOPPED).time == 1.0


@given(st.lists(st.sampled_from(list(Status)[1:]), min_size=1, max_size=6))
def test_the_order_of_reports_of_different_components_does_not_change_the_status(statuses: list[Status]) -> None:
    assert aggregate(*statuses).status is aggregate(*reversed(statuses)).status


def test_the_body_has_a_branch_for_each_pipeline_and_one_for_the_extensions() -> None:
    policy = ErrorPolicy()
    aggregator = Aggregator(policy)
    assert aggregator.health() is None
    aggregator.record(MEMORY, Event(Status.OK, 1.0))
    aggregator.record(HOST, Event(Status.OK, 1.0))
    aggregator.record(OTLP, Event(Status.RECOVERABLE_ERROR, 1.5, ConnectionError("refused"), {"retries": "3"}))
    health = aggregator.health()
    assert health is not None
    body = health.body(policy, 2.0, verbose=True)
    assert body["status"] == "StatusRecoverableError"
    assert body["error"] == "refused"
    assert body["status_time"] == "1970-01-01T00:00:01.500Z"
    assert set(body["components"]) == {"extensions", "pipeline:metrics", "pipeline:traces/edge"}
    assert set(body["components"]["pipeline:metrics"]["components"]) == {"exporter:otlp", "receiver:hostmetrics"}
    assert body["components"]["pipeline:traces/edge"]["components"]["exporter:otlp"]["attributes"] == {"retries": "3"}
    assert "components" not in health.body(policy, 2.0, verbose=False)
    of_extensions = aggregator.pipeline("extensions")
    assert of_extensions is not None
    assert of_extensions.event.status is Status.OK
    assert aggregator.pipeline("logs") is None


@pytest.mark.parametrize(
    ("status", "policy", "now", "code", "healthy"),
    [
        (Status.STARTING, ErrorPolicy(), 0, 503, True),
        (Status.OK, ErrorPolicy(), 0, 200, True),
        (Status.RECOVERABLE_ERROR, ErrorPolicy(), 9999, 200, True),
        (Status.RECOVERABLE_ERROR, ErrorPolicy(recoverable=True, recovery=60), 59, 200, True),
        (Status.RECOVERABLE_ERROR, ErrorPolicy(recoverable=True, recovery=60), 60, 500, False),
        (Status.PERMANENT_ERROR, ErrorPolicy(), 0, 200, True),
        (Status.PERMANENT_ERROR, ErrorPolicy(permanent=True), 0, 500, False),
        (Status.FATAL_ERROR, ErrorPolicy(), 0, 500, False),
        (Status.STOPPING, ErrorPolicy(), 0, 503, True),
        (Status.STOPPED, ErrorPolicy(), 0, 503, True),
    ],
)
def test_http_codes_are_those_of_healthcheckv2(
    status: Status, policy: ErrorPolicy, now: float, code: int, healthy: bool
) -> None:
    event = Event(status, 0.0)
    assert (policy.http_status(event, now), policy.healthy(event, now)) == (code, healthy)
