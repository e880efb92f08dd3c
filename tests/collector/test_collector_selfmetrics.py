"""What the collector counts about itself, in Prometheus' words and within bounds."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.selfmetrics import DROPPED, SERIES_LIMIT, Meter


def test_the_exposition_is_prometheus_text() -> None:
    meter = Meter()
    counter = meter.counter("refused_points", "Points that were\nrefused")
    counter.add(2, id='a"b\\c\nd', why="full")
    counter.add(3, why="full", id='a"b\\c\nd')
    meter.gauge("queue_bytes", "Bytes").set(1.5)
    assert meter.exposition().decode().splitlines() == [
        "# HELP queue_bytes Bytes",
        "# TYPE queue_bytes gauge",
        "queue_bytes 1.5",
        "# HELP refused_points Points that were\\nrefused",
        "# TYPE refused_points counter",
        'refused_points{id="a\\"b\\\\c\\nd",why="full"} 5',
    ]


def test_a_label_explosion_costs_its_own_metric_and_is_counted() -> None:
    meter = Meter()
    counter = meter.counter("exploded", "")
    for at in range(SERIES_LIMIT + 10):
        counter.add(1, id=str(at))
    counter.add(1, id="0")
    text = meter.exposition().decode()
    assert len(re.findall(r"^exploded\{", text, re.MULTILINE)) == SERIES_LIMIT
    assert f'{DROPPED}{{metric="exploded"}} 10' in text
    assert 'exploded{id="0"} 2' in text


def test_instances_share_a_metric_but_not_its_kind() -> None:
    meter = Meter()
    assert meter.counter("x", "") is meter.counter("x", "")
    with pytest.raises(ValueError, match="x is a counter and a gauge"):
        meter.gauge("x", "")


def test_what_is_observed_is_read_at_the_scrape() -> None:
    meter, readings = Meter(), iter([1.0, 2.0])
    gauge = meter.gauge("x", "")
    meter.observe(lambda: gauge.set(next(readings)))
    assert [meter.exposition().decode().split()[-1] for _ in range(2)] == ["1", "2"]


@given(st.floats())
def test_every_number_reads_back(value: float) -> None:
    meter = Meter()
    meter.gauge("x", "").set(value)
    text = meter.exposition().decode().split()[-1]
    assert float(text) == value or math.isnan(value)
