"""The port between agent and collector: nobody waits, nobody is needed."""

from __future__ import annotations

from edgesync.host.telemetry import TelemetryPort
from edgesync.wire.trace import Span, SpanId, TraceId


def span(number: int) -> Span:
    return Span(TraceId("a" * 32), SpanId(f"{number:016x}"), "", "x", 0.0, 1.0)


def test_what_nobody_takes_is_dropped_oldest_first_and_counted() -> None:
    port = TelemetryPort(3)
    port.tell(*(span(n) for n in range(5)))
    assert port.take() == (span(2), span(3), span(4))
    assert port.dropped == 2
    assert port.take() == ()


def test_a_listener_is_told_of_what_comes_and_of_what_is_there() -> None:
    port, calls = TelemetryPort(), []
    port.tell(span(1))
    port.listen(lambda: calls.append("there"))
    assert calls == ["there"]
    port.tell(span(2))
    port.tell()
    assert calls == ["there", "there"]
    port.listen(None)
    port.tell(span(3))
    assert calls == ["there", "there"]
    assert port.take() == (span(1), span(2), span(3))
