"""Where the lake's files are, and which of them count.

    <lake>/<table>/<YYYY-MM-DD>/<HH>/a-<number>.parquet           as it arrived
    <lake>/<table>/<YYYY-MM-DD>/<HH>/c-<first>-<last>.parquet     compacted: stands for every a- and c- file of its hour
                                                                  whose numbers lie between first and last
    <lake>/wal/<table>-<number>.wal                               acknowledged, not yet in a- file <number>

Day and hour are those of arrival (UTC): a board that was away for a week writes into today's files. Numbers grow and
are never used twice. A compacted file is complete when it has its name, so a kill between its birth and the end of what
it replaces leaves files that do not count, and nothing to repair.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgesync.host.files import storage_errors

_NAME = re.compile(r"a-(\d{12})\.parquet|c-(\d{12})-(\d{12})\.parquet")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOUR = re.compile(r"[0-2]\d")
TEMPORARY, SPILL = ".tmp", "sort-"
"""How the name of a file ends that is being written, and how that of a directory begins that DuckDB sorts in."""


@dataclass(frozen=True, slots=True, order=True)
class DataFile:
    """One Parquet file. `first` to `last` are the numbers that it stands for; `hour` is `YYYY-MM-DD/HH`."""

    hour: str
    first: int
    last: int
    path: Path
    compacted: bool

    def covers(self, other: DataFile) -> bool:
        """Whether the other file does not count beside this one."""
        inside = self.first <= other.first and other.last <= self.last
        return self.compacted and self != other and self.hour == other.hour and inside


def hour_of(seconds: float) -> str:
    """The directory of an hour, for unix seconds."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d/%H")


def arrived(directory: Path, table: str, hour: str, number: int) -> Path:
    return directory / table / hour / f"a-{number:012}.parquet"


def compacted(directory: Path, table: str, hour: str, first: int, last: int) -> Path:
    return directory / table / hour / f"c-{first:012}-{last:012}.parquet"


def found(directory: Path, table: str) -> list[DataFile]:
    """Every data file of a table, also those that do not count, sorted. Other files are nobody's business here."""
    return sorted(_walk(directory / table))


def counting(files: Iterable[DataFile]) -> list[DataFile]:
    """Those whose rows count, each row once."""
    known = list(files)
    covers = [file for file in known if file.compacted]
    return [file for file in known if not any(cover.covers(file) for cover in covers if cover.hour == file.hour)]


def sweep(directory: Path) -> None:
    """Remove what was being written when its writer was killed. Only the lake's writer may call this."""
    with storage_errors(str(directory)):
        for spill in directory.glob(f"{SPILL}*"):
            shutil.rmtree(spill)
        for left in directory.glob(f"*/*/*/*.parquet{TEMPORARY}"):
            left.unlink()


def _walk(place: Path) -> Iterator[DataFile]:
    for day in _directories(place, _DAY):
        for hour in _directories(day, _HOUR):
            for entry in _entries(hour):
                if match := _NAME.fullmatch(entry.name):
                    number, first, last = match.groups()
                    first, last = first or number, last or number
                    yield DataFile(f"{day.name}/{hour.name}", int(first), int(last), Path(entry.path), not number)


def _directories(place: Path, name: re.Pattern[str]) -> Iterator[Path]:
    yield from (Path(entry.path) for entry in _entries(place) if name.fullmatch(entry.name) and entry.is_dir())


def _entries(place: Path) -> list[os.DirEntry[str]]:
    """None of a directory that is not there, or no more: retention goes on while a lake is read."""
    try:
        with os.scandir(place) as found:
            return list(found)
    except FileNotFoundError:
        return []
