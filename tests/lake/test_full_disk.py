"""A disk that is really full: what was acknowledged stays, what is there is readable, and all goes on with new room."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lake_parts import HOUR, Clock, metrics, values

from collector_ext.consumererror import RetryableError
from collector_ext.exporter.parquet import exporter as module
from collector_ext.exporter.parquet.config import ParquetConfig, RetentionConfig
from collector_ext.exporter.parquet.exporter import ParquetExporter
from collector_ext.lake import files
from collector_ext.lake.compact import Retention, compact, expire
from collector_ext.lake.writer import LakeWriter
from collector_ext.pdata import Gauge, Metric, Metrics, NumberPoint, Resource, ResourceMetrics, ScopeMetrics
from collector_ext.settings.durations import Duration
from collector_ext.status import Status
from collector_ext.testing.doubles import Host, settings
from edgesync.wire.errors import DiskFullError, EdgesyncError

pytestmark = pytest.mark.root
LIMIT = 30.0


class Disk:
    """A file system of 1 MiB."""

    def __init__(self, place: Path) -> None:
        self.place, self._ballast = place, place / "ballast"

    def fill(self) -> None:
        """To the last byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def half_written(place: Path) -> list[Path]:
    return [
        path for path in place.rglob("*") if path.name.endswith(files.TEMPORARY) or path.name.startswith(files.SPILL)
    ]


def three_files(lake: Path, clock: Clock) -> list[float]:
    """In one hour, which is over then."""
    writer = LakeWriter(lake, clock)
    for number in range(3):
        writer.write({"metrics": [metrics([number, number + 10])]})
        writer.flush()
    writer.close()
    clock.now += HOUR
    return values(lake)


def test_what_does_not_fit_into_the_log_is_refused_and_the_rows_before_and_after_it_are_kept(disk: Disk) -> None:
    writer = LakeWriter(disk.place / "lake", Clock())
    writer.write({"metrics": [metrics([1])]})
    disk.fill()
    with pytest.raises(DiskFullError):
        writer.write({"metrics": [metrics(range(1000, 6000))]})
    os.close(writer._lock)  # as a kill does
    disk.free()
    again = LakeWriter(disk.place / "lake", Clock())
    again.write({"metrics": [metrics([2])]})
    again.close()
    assert values(disk.place / "lake") == [1, 2]


def test_rows_that_no_file_has_room_for_wait_in_their_log(disk: Disk) -> None:
    writer = LakeWriter(disk.place / "lake", Clock())
    writer.write({"metrics": [metrics([1, 2, 3])]})
    disk.fill()
    with pytest.raises(DiskFullError):
        writer.flush()
    assert half_written(disk.place) == []
    assert values(disk.place / "lake") == []
    disk.free()
    writer.flush()
    writer.close()
    assert values(disk.place / "lake") == [1, 2, 3]


def test_compaction_without_room_changes_nothing_and_retention_needs_none(disk: Disk) -> None:
    lake, clock = disk.place / "lake", Clock()
    written = three_files(lake, clock)
    disk.fill()
    with pytest.raises(EdgesyncError):
        list(compact(lake, clock.now))
    assert half_written(disk.place) == []
    assert values(lake) == written
    assert len(expire(lake, Retention(seconds=HOUR), clock.now + HOUR)) == 3
    assert values(lake) == []


def test_compaction_goes_on_when_there_is_room_again(disk: Disk) -> None:
    lake, clock = disk.place / "lake", Clock()
    written = three_files(lake, clock)
    disk.fill()
    with pytest.raises(EdgesyncError):
        list(compact(lake, clock.now))
    disk.free()
    assert [done.files for done in compact(lake, clock.now)] == [3]
    assert values(lake) == written


def test_the_exporter_tells_of_a_full_disk_once_loses_nothing_and_recovers(disk: Disk) -> None:
    lake, taken = disk.place / "lake", list[float]()

    async def scenario() -> None:
        exporter, host = ParquetExporter(settings("parquet"), ParquetConfig(str(lake))), Host()
        await exporter.start(host)
        await exporter.consume(batch(range(10)))
        disk.fill()
        for _ in range(3):
            with pytest.raises(RetryableError, match="No space left"):
                await exporter.consume(batch(range(100, 3000)))
        disk.free()
        await exporter.consume(batch(range(10, 20)))
        assert [event.status for event in host.events] == [Status.STARTING, Status.RECOVERABLE_ERROR, Status.OK]
        await exporter.shutdown()

    asyncio.run(scenario())
    taken += range(20)
    assert values(lake) == taken


def test_retention_makes_room_although_compaction_has_none(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIDY_EVERY", 0.1)
    lake, clock = disk.place / "lake", Clock()
    three_files(lake, clock)
    clock.now += HOUR
    disk.fill()

    async def scenario() -> None:
        retention = RetentionConfig(max_age=Duration(HOUR))
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(lake), retention=retention), clock)
        host = Host()
        await exporter.start(host)
        async with asyncio.timeout(LIMIT):
            while values(lake):
                await asyncio.sleep(0.05)
        await exporter.shutdown()
        assert host.status is not Status.PERMANENT_ERROR

    asyncio.run(scenario())


def batch(numbers: range) -> Metrics:
    points = tuple(NumberPoint(n * 1_000_000, float(n)) for n in numbers)
    return Metrics((ResourceMetrics((ScopeMetrics((Metric("m", Gauge(points)),)),), Resource({})),))
