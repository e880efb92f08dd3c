"""What a component's own tests look like: the contract first, then what it is for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from example_uptime import FACTORY, UptimeConfig

from collector_ext.pdata import Gauge, Metrics
from collector_ext.registry import EntryPoints
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_life, check_registered, make, refusal
from collector_ext.testing.doubles import Host, Sink, settings


def test_it_keeps_the_contract() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    asyncio.run(check_life(FACTORY, UptimeConfig()))


def test_a_reading_reaches_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("17.5 30.0\n")
    batch = asyncio.run(first(UptimeConfig(file=str(tmp_path / "uptime"))))
    metric = batch.resources[0].scopes[0].metrics[0]
    assert metric.name == "system.uptime"
    assert isinstance(metric.data, Gauge)
    assert metric.data.points[0].value == 17.5


async def first(config: UptimeConfig) -> Metrics:
    sink = Sink()
    receiver = make(FACTORY, config, settings("uptime"), sink)
    await receiver.start(Host())
    while not sink.batches:
        await asyncio.sleep(0)
    await receiver.shutdown()
    batch = sink.batches[0]
    assert isinstance(batch, Metrics)
    return batch


def test_a_file_that_cannot_be_read_is_a_permanent_error() -> None:
    async def life() -> Status:
        host = Host()
        receiver = make(FACTORY, UptimeConfig(file="/nowhere"), settings("uptime"))
        await receiver.start(host)
        while host.status is Status.STARTING:
            await asyncio.sleep(0)
        await receiver.shutdown()
        return host.status

    assert asyncio.run(life()) is Status.PERMANENT_ERROR


def test_an_interval_of_nothing_is_refused() -> None:
    assert "collection_interval: found 0s, expected more than 0s" in refusal(FACTORY, collection_interval=0.0)
