"""The processors and the debug exporter: what passes, what is changed, and what is told when it is too much."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.component import ProcessorFactory
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.debug.exporter import LINES, Debug, DebugConfig
from collector_ext.pdata import (
    Data,
    Gauge,
    Histogram,
    HistogramPoint,
    LogRecord,
    Logs,
    Metric,
    Metrics,
    NumberPoint,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    ScopeLogs,
    ScopeMetrics,
    ScopeSpans,
    Span,
    Temporality,
    Traces,
)
from collector_ext.processor.batch import factory as batch
from collector_ext.processor.batch.config import BatchConfig
from collector_ext.processor.batch.processor import Batch
from collector_ext.processor.filter import factory as filters
from collector_ext.processor.filter.config import FilterConfig, Match, Names, Records
from collector_ext.processor.filter.processor import Filter
from collector_ext.processor.memory_limiter import factory as memory_limiter
from collector_ext.processor.memory_limiter import processor as limiting
from collector_ext.processor.memory_limiter.config import MemoryLimiterConfig
from collector_ext.processor.memory_limiter.limiter import LONGEST_WAIT, SOFT_WAIT, Limiter
from collector_ext.processor.memory_limiter.processor import MemoryLimiter
from collector_ext.processor.resource.config import Action, ResourceConfig
from collector_ext.processor.resource.processor import ResourceProcessor, applied
from collector_ext.selfmetrics import Meter
from collector_ext.settings.durations import Duration
from collector_ext.status import Status
from collector_ext.testing.contract import refusal
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.wire.errors import ConfigError

MIB = 1 << 20


def metrics(*names: str, device: str = "b01") -> Metrics:
    """A batch with one point of each metric."""
    found = tuple(Metric(name, Gauge((NumberPoint(1, 1.0),))) for name in names)
    return Metrics((ResourceMetrics((ScopeMetrics(found),), Resource({"device": device})),))


def spans(*names: str) -> Traces:
    found = tuple(Span(b"t" * 16, b"s" * 8, name, 0, 2_500_000) for name in names)
    return Traces((ResourceSpans((ScopeSpans(found),), Resource({"device": "b01"})),))


def logs(*severities: int) -> Logs:
    found = tuple(LogRecord(1, f"at {severity}", severity=severity) for severity in severities)
    return Logs((ResourceLogs((ScopeLogs(found),), Resource({"device": "b01"})),))


def names_of(data: Sequence[Data]) -> list[str]:
    return [
        metric.name
        for one in data
        if isinstance(one, Metrics)
        for resource in one.resources
        for scope in resource.scopes
        for metric in scope.metrics
    ]


# --- batch --------------------------------------------------------------------------------------------------------


def batcher(sink: Sink, **changes: Any) -> Batch:
    return Batch(settings("batch"), BatchConfig(**changes), sink)


def test_batches_leave_together_and_every_sender_returns_when_they_were_taken() -> None:
    sink = Sink()

    async def life() -> None:
        one = batcher(sink, timeout=Duration(3600.0), send_batch_size=3)
        await asyncio.gather(*(one.consume(metrics(name)) for name in "abc"))

    asyncio.run(life())
    assert len(sink.batches) == 1
    assert names_of(sink.batches) == ["a", "b", "c"]


def test_a_batch_that_is_not_full_leaves_after_the_timeout() -> None:
    sink = Sink()
    asyncio.run(batcher(sink, timeout=Duration(0.01)).consume(metrics("a")))
    assert names_of(sink.batches) == ["a"]


@pytest.mark.parametrize("error", [RetryableError("busy"), PermanentError("malformed")])
def test_every_sender_hears_what_became_of_the_batch_with_its_data(error: Exception) -> None:
    sink = Sink()
    sink.error = error

    async def life() -> list[Any]:
        one = batcher(sink, timeout=Duration(0.01))
        return await asyncio.gather(*(one.consume(logs(9)) for _ in range(2)), return_exceptions=True)

    assert asyncio.run(life()) == [error, error]


def test_a_shutdown_sends_what_is_gathered() -> None:
    sink = Sink()

    async def life() -> None:
        one = batcher(sink, timeout=Duration(3600.0))
        sender = asyncio.create_task(one.consume(spans("a")))
        await asyncio.sleep(0)
        await one.shutdown()
        await sender

    asyncio.run(life())
    assert len(sink.batches) == 1


def test_a_sender_that_gives_up_takes_nothing_from_the_others() -> None:
    sink = Sink()

    async def life() -> None:
        one = batcher(sink, timeout=Duration(0.05))
        quits, stays = (asyncio.create_task(one.consume(metrics(name))) for name in "ab")
        await asyncio.sleep(0)
        quits.cancel()
        await stays

    asyncio.run(life())
    assert names_of(sink.batches) == ["a", "b"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 8))
def test_nothing_is_lost_doubled_or_out_of_order_whatever_the_sizes(sizes: list[int], size: int) -> None:
    sink = Sink()
    sent = [[f"{at}.{part}" for part in range(count)] for at, count in enumerate(sizes)]

    async def life() -> None:
        one = batcher(sink, timeout=Duration(0.001), send_batch_size=size)
        await asyncio.gather(*(one.consume(metrics(*names)) for names in sent))

    asyncio.run(life())
    assert names_of(sink.batches) == [name for names in sent for name in names]
    assert all(len(found) < size + 5 for found in sink.batches)


def test_batches_that_make_no_sense_are_refused() -> None:
    assert "timeout: found -1s" in refusal(batch.FACTORY, timeout=-1.0)
    assert "send_batch_size: found 0" in refusal(batch.FACTORY, send_batch_size=0)


# --- memory_limiter -----------------------------------------------------------------------------------------------


def test_it_refuses_above_the_soft_limit_and_takes_again_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [50 * MIB]
    monkeypatch.setattr(limiting, "resident", lambda: used[0])
    sink, host, meter = Sink(), Host(), Meter()
    config = MemoryLimiterConfig(check_interval=Duration(1.0), limit_mib=100)
    one = MemoryLimiter(settings("memory_limiter", meter), config, sink)

    async def offer() -> str:
        one.check(host)
        try:
            await one.consume(metrics("a", "b"))
        except RetryableError as error:
            return str(error)
        return "taken"

    said = []
    for size in (50, 80, 81, 200, 80):
        used[0] = size * MIB
        said.append(asyncio.run(offer()))
    refused = "{} MiB are resident, 80 MiB may be"
    assert said == ["taken", "taken", refused.format(81), refused.format(200), "taken"]
    assert [event.status for event in host.events[1:]] == [Status.RECOVERABLE_ERROR, Status.OK]
    assert host.refused == []
    assert 'otelcol_processor_refused_items{processor="memory_limiter"} 4' in meter.exposition().decode()


def test_garbage_is_collected_rarely_above_the_soft_limit_and_more_rarely_where_it_brings_nothing() -> None:
    limiter = Limiter(80, 100)
    assert limiter.check(80, 0.0).refuse is False
    assert limiter.check(81, 0.0).collect
    limiter.collected(81, 60, 0.0)
    assert not limiter.check(90, SOFT_WAIT - 1).collect
    assert limiter.check(90, SOFT_WAIT).collect
    assert limiter.check(101, 0.0).collect, "at once above the hard limit"
    waits = []
    for _ in range(8):
        limiter.collected(101, 101, 0.0)
        waits.append(next(at for at in range(100) if limiter.check(101, at).collect))
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT


def test_limits_are_of_mebibytes_or_of_what_there_is() -> None:
    interval = Duration(1.0)
    assert MemoryLimiterConfig(interval, limit_mib=100).limits(0) == (80 * MIB, 100 * MIB)
    assert MemoryLimiterConfig(interval, limit_mib=100, spike_limit_mib=30).limits(0) == (70 * MIB, 100 * MIB)
    percentages = MemoryLimiterConfig(interval, limit_percentage=80, spike_limit_percentage=15)
    assert percentages.limits(1000) == (650, 800)
    assert limiting.total() > MIB
    assert limiting.resident() > MIB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "'check_interval' must be greater than zero"),
        ({"check_interval": 1.0}, "'limit_mib' or 'limit_percentage' must be greater than zero"),
        ({"check_interval": 1.0, "limit_mib": 5, "spike_limit_mib": 5}, "must be smaller than 'limit_mib'"),
        ({"check_interval": 1.0, "limit_percentage": 101}, "must be at most 100"),
        ({"check_interval": 1.0, "limit_mib": 5, "spike_limit_mib": -1}, "must not be negative"),
        (
            {"check_interval": 1.0, "limit_percentage": 50, "spike_limit_percentage": 50},
            "must be smaller than 'limit_percentage'",
        ),
    ],
)
def test_limits_that_make_no_sense_are_refused_in_the_collectors_words(changes: dict[str, Any], message: str) -> None:
    assert message in refusal(memory_limiter.FACTORY, **changes)


# --- resource -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "result"),
    [
        (Action("new", "insert", 1), {"old": "x", "new": 1}),
        (Action("old", "insert", 1), {"old": "x"}),
        (Action("new", "update", 1), {"old": "x"}),
        (Action("old", "update", 1), {"old": 1}),
        (Action("new", "upsert", 1), {"old": "x", "new": 1}),
        (Action("old", "upsert", 1), {"old": 1}),
        (Action("old", "delete"), {}),
        (Action("gone", "delete"), {"old": "x"}),
        (Action("new", "upsert", from_attribute="old"), {"old": "x", "new": "x"}),
        (Action("new", "upsert", from_attribute="gone"), {"old": "x"}),
    ],
    ids=str,
)
def test_an_action_does_what_it_says(action: Action, result: dict[str, Any]) -> None:
    before = {"old": "x"}
    assert applied([action], before) == result
    assert before == {"old": "x"}


def test_actions_change_the_resources_of_every_signal_in_their_order() -> None:
    sink = Sink()
    config = ResourceConfig((Action("site", "insert", "plant-7"), Action("device", "delete")))
    one = ResourceProcessor(settings("resource"), config, sink)
    for data in (metrics("a"), spans("a"), logs(9)):
        asyncio.run(one.consume(data))
    assert [batch.resources[0].resource.attributes for batch in sink.batches] == [{"site": "plant-7"}] * 3
    assert [len(batch) for batch in sink.batches] == [1, 1, 1]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action(), "key: missing"),
        (Action("a", "insert"), "insert of 'a': expected value or from_attribute"),
        (Action("a", "insert", 1, "b"), "insert of 'a': expected value or from_attribute"),
        (Action("a", "delete", 1), "delete of 'a': expected neither"),
        (Action("a", "insert", [1]), "value of 'a': found [1], expected text, a number or a boolean"),
    ],
    ids=str,
)
def test_an_action_that_makes_no_sense_is_refused(action: Action, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        action.validate()
    assert message in str(raised.value)


# --- filter -------------------------------------------------------------------------------------------------------


def passed(config: FilterConfig, data: Data) -> tuple[list[Data], str]:
    sink, meter = Sink(), Meter()
    asyncio.run(Filter(settings("filter", meter), config, sink).consume(data))
    return sink.batches, meter.exposition().decode()


def test_what_is_included_and_not_excluded_passes_and_the_rest_is_counted() -> None:
    config = FilterConfig(Names(Match("regexp", (r"^system\.",)), Match("strict", ("system.cpu.time",))))
    found, text = passed(config, metrics("system.memory.usage", "system.cpu.time", "process.cpu.time"))
    assert names_of(found) == ["system.memory.usage"]
    assert 'otelcol_processor_filter_dropped_items{processor="filter"} 2' in text


def test_a_batch_of_which_nothing_passes_goes_nowhere() -> None:
    nothing = Names(include=Match("strict", ("x",)))
    assert passed(FilterConfig(metrics=nothing), metrics("a"))[0] == []
    assert passed(FilterConfig(spans=nothing), spans("a"))[0] == []
    assert passed(FilterConfig(logs=Records(17)), logs(9))[0] == []


def test_spans_pass_by_name_and_logs_by_severity() -> None:
    found, _ = passed(FilterConfig(spans=Names(exclude=Match("strict", ("b",)))), spans("a", "b"))
    assert [len(batch) for batch in found] == [1]
    found, _ = passed(FilterConfig(logs=Records(min_severity=13)), logs(0, 9, 13, 17))
    assert [len(batch) for batch in found] == [3]


@given(st.lists(st.sampled_from("abcd"), max_size=8))
def test_a_filter_that_says_nothing_changes_nothing_but_what_is_empty(names: list[str]) -> None:
    data = metrics(*names)
    assert passed(FilterConfig(), data)[0] == ([data] if names else [])


def test_a_filter_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no regular expression"):
        Match("regexp", ("(",)).validate()
    with pytest.raises(ConfigError, match="min_severity: found 25"):
        Records(25).validate()
    assert isinstance(filters.FACTORY, ProcessorFactory)


# --- debug --------------------------------------------------------------------------------------------------------


def test_debug_says_what_arrives(caplog: pytest.LogCaptureFixture) -> None:
    histogram = Metric("h", Histogram((HistogramPoint(1, 3, 4.5),), Temporality.DELTA), "s")
    points = Metrics((ResourceMetrics((ScopeMetrics((histogram, *metrics("a").resources[0].scopes[0].metrics)),)),))
    caplog.set_level(logging.INFO, "collector")
    one = Debug(settings("debug"), DebugConfig("detailed"))
    for data in (points, spans("boot"), logs(9)):
        asyncio.run(one.consume(data))
    assert [record.getMessage() for record in caplog.records] == [
        "metrics: 1 resources, 2 items",
        "h count 3, sum 4.5 s {}",
        "a 1.0  {}",
        "traces: 1 resources, 1 items",
        f"{'74' * 16} {'73' * 8} boot 2.500 ms {{}}",
        "logs: 1 resources, 1 items",
        "1 9 'at 9'",
    ]


def test_debug_is_bounded_and_basic_is_one_line_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "collector")
    many = logs(*[9] * (LINES + 5))
    asyncio.run(Debug(settings("debug"), DebugConfig("detailed")).consume(many))
    assert len(caplog.records) == LINES + 2
    assert caplog.records[-1].getMessage() == "... and more"
    caplog.clear()
    asyncio.run(Debug(settings("debug"), dataclasses.replace(DebugConfig())).consume(many))
    assert len(caplog.records) == 1
