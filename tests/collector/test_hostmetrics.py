"""The receiver hostmetrics: what it sends, under which names, and what counts from where."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from collector_ext.component import Consumers
from collector_ext.consumererror import RetryableError
from collector_ext.pdata import Metric, Metrics, Sum, Temporality
from collector_ext.receiver.hostmetrics import names
from collector_ext.receiver.hostmetrics.config import HostMetricsConfig, Scraper, Scrapers
from collector_ext.receiver.hostmetrics.factory import FACTORY
from collector_ext.receiver.hostmetrics.receiver import HostMetrics
from collector_ext.receiver.hostmetrics.scrape import NANO, Counters
from collector_ext.settings.durations import Duration
from collector_ext.status import Status
from collector_ext.testing.contract import check_life, refusal
from collector_ext.testing.doubles import Host, Sink, settings

ALL = Scrapers(*[Scraper()] * 5)
MEMINFO = "MemTotal: 1000 kB\nMemAvailable: 250 kB\nSwapTotal: 8 kB\nSwapFree: 2 kB\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "sys/block/sda").mkdir(parents=True)
    for name, text in {
        "meminfo": MEMINFO,
        "vmstat": "pgmajfault 5\noom_kill 2\n",
        "stat": "cpu  100 0 0 400 0 0 0 0\nbtime 1000\n",
        "diskstats": " 8 0 sda 10 1 200 4 20 2 300 5 0 8 4\n",
        "pressure/memory": "some avg10=0.00 avg60=2.50 avg300=0.00 total=9\nfull avg10=0 avg60=0.10 avg300=0 total=3\n",
    }.items():
        (tmp_path / "proc" / name).write_text(text)
    return tmp_path


def receiver(root: Path, sink: Sink | None = None, **changes: Any) -> HostMetrics:
    values: dict[str, Any] = {"scrapers": ALL, "root_path": str(root), "initial_delay": Duration(0.0), **changes}
    config = HostMetricsConfig(**values)
    return HostMetrics(settings("hostmetrics"), config, Consumers(metrics=sink or Sink()), lambda: 2000 * NANO)


def series(batch: Metrics) -> dict[str, Any]:
    """`name{attributes}` -> value."""
    found = {}
    for resource in batch.resources:
        for scope in resource.scopes:
            for metric in scope.metrics:
                for point in metric.data.points if metric.data else ():
                    labels = ",".join(str(value) for value in point.attributes.values())
                    found[f"{metric.name}{{{labels}}}"] = point.value  # type: ignore[union-attr]
    return found


def metric(batch: Metrics, name: str) -> Metric:
    return next(one for one in batch.resources[0].scopes[0].metrics if one.name == name)


def test_every_scraper_sends_what_the_kernel_says_under_the_conventions_names(root: Path) -> None:
    batch = receiver(root).scrape()
    assert batch.resources[0].schema_url == names.SCHEMA_URL
    found = series(batch)
    for name, value in {
        "system.memory.usage{used}": 750 * 1024,
        "system.memory.usage{free}": 250 * 1024,
        "system.memory.limit{}": 1000 * 1024,
        "system.memory.utilization{}": 0.75,
        "system.memory.linux.available{}": 250 * 1024,
        "edgesync.memory.oom_kills{}": 2,
        "edgesync.memory.pressure{some}": 0.025,
        "edgesync.memory.waiting{full}": 3e-6,
        "system.paging.usage{used}": 6 * 1024,
        "system.paging.faults{major}": 5,
        "system.disk.io{sda,read}": 200 * 512,
        "system.disk.operations{sda,write}": 20,
    }.items():
        assert found[name] == value, name
    assert found["system.cpu.time{idle}"] == 4 * found["system.cpu.time{user}"]


def test_totals_count_since_the_boot(root: Path) -> None:
    faults = metric(receiver(root).scrape(), "system.paging.faults")
    assert isinstance(faults.data, Sum)
    assert (faults.data.temporality, faults.data.monotonic) == (Temporality.CUMULATIVE, True)
    assert faults.data.points[0].start == 1000 * NANO


def test_only_the_named_scrapers_run_and_metrics_without_points_are_left_out(root: Path) -> None:
    found = series(receiver(root, scrapers=Scrapers(memory=Scraper())).scrape())
    assert all(name.startswith(("system.memory.", "edgesync.memory.")) for name in found)
    (root / "proc" / "meminfo").unlink()
    assert "system.memory.limit{}" not in series(receiver(root).scrape())


def test_differences_are_to_the_last_reading_that_was_taken_and_a_total_that_fell_began_anew() -> None:
    counters = Counters("delta", 0)

    def read(value: int, now: int, *, taken: bool = True) -> list[tuple[int, float | None]]:
        made = counters.metric("x", "1", [({"a": "b"}, value)], now).data
        assert isinstance(made, Sum)
        assert made.temporality is Temporality.DELTA
        if taken:
            counters.taken()
        return [(point.start, point.value) for point in made.points]

    assert read(10, 1) == []
    assert read(13, 2) == [(1, 3)]
    assert read(15, 3, taken=False) == [(2, 2)]
    assert read(20, 4) == [(2, 7)]
    assert read(4, 5) == [(4, 4)]


def test_a_refusal_is_told_once_and_the_next_batch_makes_it_well(root: Path) -> None:
    sink, host = Sink(), Host()
    sink.error = RetryableError("busy")

    async def life() -> None:
        one = receiver(root, sink, collection_interval=Duration(0.001))
        await one.start(host)
        while host.status is not Status.RECOVERABLE_ERROR:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        sink.error = None
        while host.status is not Status.OK:
            await asyncio.sleep(0.001)
        await one.shutdown()

    asyncio.run(asyncio.wait_for(life(), 60))
    assert [event.status for event in host.events[1:]] == [Status.RECOVERABLE_ERROR, Status.OK]
    assert sink.batches


def test_it_keeps_the_contract_on_this_machine() -> None:
    asyncio.run(check_life(FACTORY, HostMetricsConfig(scrapers=ALL)))


def test_a_config_that_makes_no_sense_is_refused_in_the_collectors_words() -> None:
    assert refusal(FACTORY) == "must specify at least one scraper when using hostmetrics receiver"
    assert "collection_interval: found 0s" in refusal(FACTORY, collection_interval=0.0)
    assert "initial_delay: found -1s" in refusal(FACTORY, initial_delay=-1.0)
