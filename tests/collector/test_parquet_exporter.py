"""The parquet exporter: what it has taken is synced, and a disk that fails is a status and not a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from telemetry_parts import counter, gauge, log, metrics, span

from collector_ext.component import Settings
from collector_ext.consumererror import RetryableError
from collector_ext.exporter.parquet.config import ParquetConfig
from collector_ext.exporter.parquet.exporter import ParquetExporter
from collector_ext.exporter.parquet.factory import FACTORY
from collector_ext.lake import wal
from collector_ext.lake.reader import Lake
from collector_ext.pdata import Histogram, HistogramPoint, Metric, Summary, SummaryPoint, Temporality
from collector_ext.registry import EntryPoints
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_life, check_registered, refusal
from collector_ext.testing.doubles import Host, settings
from edgesync.wire.errors import ConfigError, DiskFullError


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    asyncio.run(check_life(FACTORY, ParquetConfig(str(tmp_path))))


@pytest.mark.parametrize("changes", [{}, {"directory": "x", "flush_interval": 0.5}, {"directory": "x", "max_rows": 0}])
def test_a_config_that_cannot_be_says_which_key(changes: dict[str, Any]) -> None:
    assert refusal(FACTORY, **changes).split(":")[0] in ("directory", "flush_interval", "max_rows")


def run(
    directory: Path, scenario: Callable[[ParquetExporter, Host], Awaitable[None]], made: Settings | None = None
) -> None:
    async def whole() -> None:
        exporter, host = ParquetExporter(made or settings("parquet"), ParquetConfig(str(directory))), Host()
        await exporter.start(host)
        try:
            await scenario(exporter, host)
        finally:
            await exporter.shutdown()

    asyncio.run(whole())


def ask(directory: Path, question: str) -> list[tuple[Any, ...]]:
    with Lake(directory) as lake:
        return lake.rows(question)


def test_metrics_traces_and_logs_are_rows_that_say_whose_they_are(tmp_path: Path) -> None:
    async def scenario(exporter: ParquetExporter, _host: Host) -> None:
        await exporter.consume(gauge([1.5, 2.5], **{"edgesync.device": "acme.b1", "host.arch": "arm64"}))
        await exporter.consume(counter([7]))
        await exporter.consume(span("fetching", **{"edgesync.device": "acme.b2"}))
        await exporter.consume(log("out of memory"))

    run(tmp_path, scenario)
    assert ask(
        tmp_path, "SELECT device, metric, kind, unit, attributes, resource, value FROM metrics ORDER BY value"
    ) == [
        ("acme.b1", "m", "gauge", "By", '{"state":"used"}', '{"host.arch":"arm64"}', 1.5),
        ("acme.b1", "m", "gauge", "By", '{"state":"used"}', '{"host.arch":"arm64"}', 2.5),
        ("", "c", "delta", "{packet}", "{}", "{}", 7.0),
    ]
    assert ask(tmp_path, "SELECT device, service, name, status, message, epoch(t.end - time) FROM traces t") == [
        ("acme.b2", "agent", "fetching", "error", "broken", 1.0)
    ]
    assert ask(tmp_path, "SELECT severity, severity_number, body FROM logs") == [("WARN", 13, "out of memory")]


def test_histograms_have_a_table_and_summaries_are_counted_as_dropped(tmp_path: Path) -> None:
    made = settings("parquet")

    async def scenario(exporter: ParquetExporter, _host: Host) -> None:
        histogram = Histogram((HistogramPoint(1000, 3, 6.0, (1.0, 2.0), (1, 1, 1)),), Temporality.DELTA)
        summary = Summary((SummaryPoint(1000, 3, 6.0),))
        await exporter.consume(metrics([Metric("h", histogram), Metric("s", summary)], {}))

    run(tmp_path, scenario, made)
    assert ask(tmp_path, "SELECT metric, count, sum, bounds, counts FROM histograms") == [
        ("h", 3, 6.0, [1.0, 2.0], [1, 1, 1])
    ]
    assert b"collector_lake_dropped_points 1" in made.meter.exposition()


def test_what_was_taken_is_in_the_lake_even_if_nothing_was_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        await exporter.start(Host())
        await asyncio.gather(*(exporter.consume(gauge([float(n)])) for n in range(50)))
        (log_file,) = (tmp_path / "wal").iterdir()
        kept = [value for batch in wal.replay(log_file, _schema()) for value in batch["value"].to_pylist()]
        assert sorted(kept) == [float(n) for n in range(50)]
        await exporter.shutdown()

    asyncio.run(scenario())


def _schema() -> Any:
    from collector_ext.lake.schema import METRICS

    return METRICS.schema


def test_a_full_disk_is_a_recoverable_error_that_ends_with_the_next_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = wal.WriteAheadLog.append

    async def scenario(exporter: ParquetExporter, host: Host) -> None:
        def full(*_: object) -> None:
            raise DiskFullError("no room")

        await exporter.consume(gauge([1.0]))
        monkeypatch.setattr(wal.WriteAheadLog, "append", full)
        for _ in range(2):
            with pytest.raises(RetryableError, match="no room"):
                await exporter.consume(gauge([2.0]))
        assert host.status is Status.RECOVERABLE_ERROR
        monkeypatch.setattr(wal.WriteAheadLog, "append", real)
        await exporter.consume(gauge([3.0]))
        assert host.status is Status.OK
        assert [event.status for event in host.events] == [Status.STARTING, Status.RECOVERABLE_ERROR, Status.OK]

    run(tmp_path, scenario)
    assert ask(tmp_path, "SELECT value FROM metrics ORDER BY value") == [(1.0,), (3.0,)]


def test_a_lake_that_another_process_writes_is_refused_at_the_start(tmp_path: Path) -> None:
    async def scenario(_exporter: ParquetExporter, _host: Host) -> None:
        second = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        with pytest.raises(ConfigError, match="another process"):
            await second.start(Host())
        await second.shutdown()

    run(tmp_path, scenario)
