"""Telemetry that costs more than it looks: refused by name within bounds, and what is good goes on."""

from __future__ import annotations

import asyncio
import json
import math
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telemetry_parts import gauge

from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.exporter.parquet import exporter as module
from collector_ext.exporter.parquet import rows
from collector_ext.exporter.parquet.config import ParquetConfig
from collector_ext.exporter.parquet.exporter import ParquetExporter
from collector_ext.graph import FanOut
from collector_ext.ids import Signal
from collector_ext.lake import writer
from collector_ext.lake.reader import Lake
from collector_ext.otlp.compact import PACKED_LIMIT, pack
from collector_ext.otlp.encode import encode
from collector_ext.pdata import (
    Gauge,
    Histogram,
    HistogramPoint,
    Metric,
    Metrics,
    NumberPoint,
    Resource,
    ResourceMetrics,
    ScopeMetrics,
    Temporality,
    Value,
)
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.wire.errors import MessageTooLargeError


def metrics(points: list[NumberPoint], **resource: Value) -> Metrics:
    return Metrics((ResourceMetrics((ScopeMetrics((Metric("m", Gauge(tuple(points))),)),), Resource(resource)),))


def labelled(count: int, length: int, seed: int = 0) -> Metrics:
    """So many points, no attribute twice."""
    chance = random.Random(seed)
    return metrics([NumberPoint(1000 + n, 1.0, {"id": chance.randbytes(length).hex()}) for n in range(count)])


def test_a_large_resource_of_many_points_is_refused_before_it_is_repeated() -> None:
    bomb = metrics([NumberPoint(n, 1.0) for n in range(20_000)], name="x" * 100_000)
    assert len(pack(Signal.METRICS, encode(bomb))) < PACKED_LIMIT, "a board can send it"
    with pytest.raises(MessageTooLargeError, match="20000 rows"):
        rows.rows_of(bomb)


def test_more_rows_than_a_batch_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_LIMIT", 10)
    assert rows.rows_of(gauge([1.0] * 10))
    with pytest.raises(MessageTooLargeError, match="metrics: 11 rows"):
        rows.rows_of(gauge([1.0] * 11))


def test_what_is_remembered_of_attributes_is_bounded_in_number_and_length() -> None:
    rows.rows_of(labelled(3 * rows.KNOWN_LIMIT, 8))
    rows.rows_of(labelled(10, rows.KNOWN_LENGTH))
    assert len(rows._KNOWN) <= rows.KNOWN_LIMIT
    assert all(len(text) <= rows.KNOWN_LENGTH for text in rows._KNOWN.values())


def test_a_batch_that_no_lake_takes_holds_up_no_other(tmp_path: Path) -> None:
    bomb = metrics([NumberPoint(n, 1.0) for n in range(20_000)], name="x" * 100_000)

    async def scenario() -> None:
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        await exporter.start(Host())
        taken = await asyncio.gather(
            exporter.consume(gauge([1.0])),
            exporter.consume(bomb),
            exporter.consume(gauge([2.0])),
            return_exceptions=True,
        )
        assert [type(one) for one in taken] == [type(None), PermanentError, type(None)]
        await exporter.shutdown()

    asyncio.run(scenario())
    assert values(tmp_path) == [(1.0,), (2.0,)]


def test_a_batch_that_no_lake_takes_reaches_the_exporters_beside_it(tmp_path: Path) -> None:
    bomb, beside = metrics([NumberPoint(n, 1.0) for n in range(20_000)], name="x" * 100_000), Sink()

    async def scenario() -> None:
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        await exporter.start(Host())
        with pytest.raises(PermanentError, match="20000 rows"):
            await FanOut([exporter, beside]).consume(bomb)
        await exporter.shutdown()

    asyncio.run(scenario())
    assert beside.batches == [bomb]


def test_what_waits_for_the_disk_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_SIZE", 50_000)

    async def scenario() -> list[BaseException | None]:
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        await exporter.start(Host())
        many = [exporter.consume(labelled(100, 50, n)) for n in range(20)]
        taken = await asyncio.gather(*many, return_exceptions=True)
        await exporter.consume(labelled(100, 50, 99))
        await exporter.shutdown()
        return taken

    taken = asyncio.run(scenario())
    refused = [one for one in taken if isinstance(one, RetryableError)]
    assert 10 < len(refused) < 20
    assert len(values(tmp_path)) == 100 * (21 - len(refused))


def test_an_explosion_of_labels_comes_to_files_by_size_before_it_does_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SIZE", 400_000)
    count = 12

    async def scenario() -> None:
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        await exporter.start(Host())
        for number in range(count):
            await exporter.consume(labelled(1000, 100, number))
            assert exporter._writer
            await exporter._do(exporter._writer.flush_due)  # in its thread, for it may look by itself
        await exporter.shutdown()

    asyncio.run(scenario())
    assert len(list((tmp_path / "metrics").rglob("*.parquet"))) > count // 3
    assert len(values(tmp_path)) == 1000 * count


def values(lake: Path) -> list[tuple[float]]:
    with Lake(lake) as opened:
        return opened.rows("SELECT value FROM metrics ORDER BY value")


# --- whatever is told can be asked for -----------------------------------------------------------------------------

FLOATS = st.floats().map(lambda value: value + 0.0)  # minus zero is remembered as zero
PLAIN = st.one_of(st.text(max_size=8), st.booleans(), st.integers(-5, 5), FLOATS, st.binary(max_size=4), st.none())
"""As values of attributes."""
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@given(told=st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), min_size=1, max_size=8))
def test_attributes_of_any_kind_are_json_that_says_the_same(told: list[dict[str, Value]]) -> None:
    found, _ = rows.rows_of(metrics([NumberPoint(n, 1.0, attributes) for n, attributes in enumerate(told)]))
    (batch,) = found["metrics"]
    for text, attributes in zip(batch["attributes"].to_pylist(), told, strict=True):
        read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert repr(read) == repr({key: plain(value) for key, value in sorted(attributes.items())})


def plain(value: Value) -> object:
    match value:
        case bytes():
            return value.hex()
        case float() if not math.isfinite(value):
            return json.dumps(value)
        case tuple():
            return [plain(item) for item in value]
    return value


def test_numbers_that_no_column_holds_are_kept_as_the_largest_that_it_does(tmp_path: Path) -> None:
    most = (1 << 64) - 1
    histogram = Histogram((HistogramPoint(most, most, 1.0, (1.0,), (most, 1)),), Temporality.DELTA)
    told = Metrics((ResourceMetrics((ScopeMetrics((Metric("h", histogram),)),), Resource({})),))
    odd = metrics([NumberPoint(most, struct.unpack("<d", b"\xff" * 8)[0], {"x": float("nan")})])

    async def scenario() -> None:
        exporter = ParquetExporter(settings("parquet"), ParquetConfig(str(tmp_path)))
        await exporter.start(Host())
        await exporter.consume(told)
        await exporter.consume(odd)
        await exporter.shutdown()

    asyncio.run(scenario())
    with Lake(tmp_path) as lake:
        assert lake.rows("SELECT count, counts FROM histograms") == [((1 << 63) - 1, [(1 << 63) - 1, 1])]
        assert lake.rows("SELECT attributes->>'$.x' FROM metrics") == [("NaN",)]
