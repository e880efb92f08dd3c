"""Our OTLP is the official one, byte for byte, and bytes from outside are a value or a named error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_values import DATA

from collector_ext.component import signal_of
from collector_ext.ids import Signal
from collector_ext.otlp import decode as module
from collector_ext.otlp.decode import decode
from collector_ext.otlp.encode import encode
from collector_ext.otlp.protobuf import message
from collector_ext.pdata import (
    Data,
    Gauge,
    LogRecord,
    Logs,
    Metric,
    Metrics,
    NumberPoint,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ScopeLogs,
    ScopeMetrics,
    Value,
)
from edgesync.wire.errors import EdgesyncError, MalformedMessageError, MessageTooLargeError

REQUESTS = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


@given(DATA)
@settings(max_examples=300, deadline=None)
def test_what_we_encode_the_official_package_reads_and_writes_the_same_bytes(data: Data) -> None:
    encoded = encode(data)
    request = REQUESTS[signal_of(data)].FromString(encoded)
    assert request.SerializeToString(deterministic=True) == encoded
    assert decode(signal_of(data), encoded) == data


@given(st.sampled_from(Signal), st.binary(max_size=60))
def test_any_bytes_are_telemetry_or_a_named_error(signal: Signal, data: bytes) -> None:
    try:
        decode(signal, data)
    except EdgesyncError:
        return


@given(DATA, st.data())
@settings(deadline=None)
def test_telemetry_with_any_byte_changed_is_telemetry_or_a_named_error(data: Data, choice: st.DataObject) -> None:
    encoded = bytearray(encode(data))
    if encoded:
        encoded[choice.draw(st.integers(0, len(encoded) - 1))] ^= 1 << choice.draw(st.integers(0, 7))
    try:
        decode(signal_of(data), bytes(encoded))
    except EdgesyncError:
        return


def test_a_request_that_is_too_long_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 10)
    with pytest.raises(MessageTooLargeError, match="11 bytes"):
        decode(Signal.LOGS, bytes(11))


def test_an_attribute_as_deep_as_a_well_is_refused() -> None:
    value: Value = "water"
    for _ in range(module.DEPTH + 2):
        value = (value,)
    logs = Logs((ResourceLogs((ScopeLogs((LogRecord(1, value),)),), Resource()),))
    with pytest.raises(MalformedMessageError, match="within one another"):
        decode(Signal.LOGS, encode(logs))


# --- what few bytes can make ----------------------------------------------------------------------------------------

EMPTIES = {
    "resources": (Signal.METRICS, (1,)),
    "scopes": (Signal.TRACES, (1, 2)),
    "metrics": (Signal.METRICS, (1, 2, 2)),
    "points": (Signal.METRICS, (1, 2, 2, 5, 1)),
    "exemplars": (Signal.METRICS, (1, 2, 2, 5, 1, 5)),
    "quantiles": (Signal.METRICS, (1, 2, 2, 11, 1, 6)),
    "events": (Signal.TRACES, (1, 2, 2, 11)),
    "records": (Signal.LOGS, (1, 2, 2)),
    "attributes": (Signal.LOGS, (1, 2, 2, 6)),
}
"""Kinds of values, and the fields on the way to them."""


@pytest.mark.parametrize("kind", EMPTIES)
def test_a_request_of_nothing_but_empty_values_is_too_large(kind: str) -> None:
    signal, (*way, field) = EMPTIES[kind]
    body = message(field, b"") * 100_000
    for outer in reversed(way):
        body = message(outer, body)
    with pytest.raises(MessageTooLargeError, match="with more than 25"):
        decode(signal, body)


def test_large_requests_of_what_people_send_are_none_too_large() -> None:
    points = tuple(NumberPoint(n, n, {"a": "b"}) for n in range(1, 20_001))
    data = Metrics((ResourceMetrics((ScopeMetrics((Metric("m", Gauge(points)),)),)),))
    assert decode(Signal.METRICS, encode(data)) == data
