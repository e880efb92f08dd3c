"""Hourly housekeeping: many small files in the order of arrival become one sorted file, and what is too old or too much
goes.

Sorting halves the bytes, since a series then stands together. DuckDB sorts, on disk where it does not fit into memory.
The new file has its name before the old ones are deleted (`files` says which count), so a kill at any moment loses
nothing and doubles nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from collector_ext.lake import files, parquet
from collector_ext.lake.files import DataFile
from collector_ext.lake.reader import Lake
from collector_ext.lake.schema import TABLES, Table
from edgesync.host.files import storage_errors

MEMORY = "512MB"


@dataclass(frozen=True, slots=True)
class Retention:
    """What may stay. `seconds` since the arrival of the newest row of a file; `size` in bytes of all tables together,
    oldest hours first. 0 is no limit.
    """

    seconds: float = 0.0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Compacted:
    """One hour of one table: files and bytes before, bytes and rows after."""

    table: str
    hour: str
    files: int
    before: int
    after: int
    rows: int


def compact(directory: Path, now: float) -> Iterator[Compacted]:
    """Every hour that is over (unix seconds `now`) and has more than one file that counts. Only the lake's writer may
    call this, from any thread: hours that are over get no new files.
    """
    for table in TABLES.values():
        for hour, group in groupby(files.found(directory, table.name), key=lambda file: file.hour):
            there = list(group)
            if hour < files.hour_of(now):
                counting = files.counting(there)
                if len(counting) > 1 or not counting[0].compacted:
                    yield _merge(directory, table, hour, counting)
                _remove(file for file in there if file not in files.counting(files.found(directory, table.name)))


def expire(directory: Path, retention: Retention, now: float) -> list[Path]:
    """Delete the hours that are not kept, and say which files went."""
    every = sorted(file for name in TABLES for file in files.found(directory, name))
    gone = []
    if retention.seconds:
        oldest = files.hour_of(now - retention.seconds)
        gone = [file for file in every if file.hour < oldest]
    if retention.size:
        left = [file for file in every if file not in gone]
        total = sum(file.path.stat().st_size for file in left)
        for _, group in groupby(left, key=lambda file: file.hour):
            if total <= retention.size:
                break
            hour = list(group)
            total -= sum(file.path.stat().st_size for file in hour)
            gone += hour
    _remove(gone)
    return [file.path for file in gone]


def _merge(directory: Path, table: Table, hour: str, group: list[DataFile]) -> Compacted:
    first, last = group[0].first, max(file.last for file in group)
    path = files.compacted(directory, table.name, hour, first, last)
    before = sum(file.path.stat().st_size for file in group)
    # A row that came twice, since whoever sent it heard no acknowledgement, is there once from now on.
    question = f"SELECT DISTINCT * FROM {table.name}_hour ORDER BY {', '.join(table.order)}"  # noqa: S608 - names of ours
    with (
        storage_errors(str(directory)),
        tempfile.TemporaryDirectory(prefix=files.SPILL, dir=directory) as spill,
        Lake(directory, memory=MEMORY, spill=Path(spill)) as lake,
    ):
        lake.view(f"{table.name}_hour", table, [file.path for file in group])
        rows = parquet.write(path, table, lake.batches(question, parquet.ROW_GROUP))
    _remove(group)
    return Compacted(table.name, hour, len(group), before, path.stat().st_size, rows)


def _remove(gone: Iterator[DataFile] | list[DataFile]) -> None:
    for file in gone:
        with storage_errors(str(file.path)):
            file.path.unlink(missing_ok=True)
        for above in (file.path.parent, file.path.parent.parent):
            with contextlib.suppress(OSError):
                above.rmdir()  # where it is empty
