"""What ten million points cost a notebook: CPU seconds of its questions, and its kernel's memory.

The lake is a day of the sample's model with 350 boards and a reading a minute, through the lake's own writer, a file an
hour and table, compacted. Each notebook runs in a kernel of its own, as JupyterLab starts one, and must name what was
planted. A question's time is the kernel's CPU time, all threads, from the call of `Lake` to the frame; imports are not
in it. The peak is that of the whole kernel process: interpreter, ipykernel, pandas, matplotlib, DuckDB, plots.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from collector_ext.exporter.parquet.rows import rows_of
from collector_ext.lake.compact import compact
from collector_ext.lake.reader import Lake
from collector_ext.lake.writer import LakeWriter
from collector_ext.pdata import Data
from collector_ext.receiver.mqtt.receiver import named
from edgesync.wire.ids import DeviceId
from notebooks.sample.__main__ import told, told_by_server
from notebooks.sample.story import DAY, HOUR, Story, planted
from tests.bench.measure import MIB, BenchError, Figure, Workshop

BOARDS, STEP = 350, 60.0
POINTS = 10_000_000
BEGIN, SEED = 1_772_409_600.0, 7  # 2026-03-02, the day that the notebooks' parameters name
QUESTIONS_LIMIT = 5.0
"""Seconds."""
PEAK_LIMIT = 500 * MIB
CELL_LIMIT = 300
"""Seconds that one cell may take."""
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

BEFORE = """\
import time as _time
import pandas as _pandas
from collector_ext.lake import reader as _reader

_spent = []

def _timed(real):
    def call(*arguments, **named):
        began = _time.process_time()
        try:
            return real(*arguments, **named)
        finally:
            _spent.append(_time.process_time() - began)
    return call

for _name in ("__init__", "rows", "frame"):
    setattr(_reader.Lake, _name, _timed(getattr(_reader.Lake, _name)))
"""
AFTER = """\
import json as _json, re as _re
_peak = int(_re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
_finding = worst if "worst" in globals() else cause
print(_json.dumps([sum(_spent), max(_spent), _peak, _finding.subject, _finding.cause]))
"""


@dataclass
class Moving:
    """A clock that is moved on by hand."""

    at: float

    def wall(self) -> int:
        return int(self.at)

    def monotonic(self) -> float:
        return self.at


def run(workshop: Workshop) -> Iterator[Figure]:
    lake, story = workshop.room("notebooks") / "lake", planted(BOARDS, step=STEP)
    began = time.process_time()
    _write(lake, story, workshop)
    points, size = _count(lake)
    workshop.say(f"{points} points, {size / MIB:.0f} MiB, made in {time.process_time() - began:.0f} CPU seconds")
    if points < POINTS:
        raise BenchError(f"the lake has {points} points, at least {POINTS} are wanted")
    where = f"{points} points of {BOARDS} boards in files of {size / MIB:.0f} MiB"
    for name, planted_cause in _planted(story).items():
        seconds, longest, peak, *named_cause = _ask(NOTEBOOKS / f"{name}.ipynb", lake)
        if tuple(named_cause) != planted_cause:
            raise BenchError(f"{name} names {named_cause}, but {planted_cause} was planted")
        slowest = f"{where}; the slowest question {longest:.2f} s"
        yield Figure(f"{name}: its questions", seconds, "CPU s", slowest, QUESTIONS_LIMIT)
        yield Figure(f"{name}: its kernel at its peak", peak, "bytes", where, PEAK_LIMIT)


def _planted(story: Story) -> dict[str, tuple[Any, Any]]:
    """What each notebook must name."""
    return {
        "fleet-health": (story.silent, "silent"),
        "rollout": (story.broken, "BootFailed"),
        "links": story.spending or ("", ""),
        "memory": ("r-000042", "a release leaks"),
        "incident": (story.held, story.cause),
    }


def _write(lake: Path, story: Story, workshop: Workshop) -> None:
    """Hour by hour, as it would arrive."""
    clock = Moving(BEGIN)
    writer = LakeWriter(lake, clock)
    streams = [_named(device, several) for device, several in told(story, BEGIN, SEED)]
    for number, batches in enumerate(zip_longest(*streams)):
        clock.at = BEGIN + (number + 1) * HOUR
        _take(writer, batches)
        workshop.say(f"hour {number + 1} of {DAY / HOUR:.0f} is written")
    _take(writer, told_by_server(story, BEGIN, SEED))
    writer.close()
    workshop.say("compacting")
    for _ in compact(lake, clock.at + 2 * HOUR):
        pass


def _named(device: DeviceId, several: Iterator[Data]) -> Iterator[Data]:
    for data in several:
        yield named(data, device)


def _take(writer: LakeWriter, several: Any) -> None:
    rows: dict[str, list[pa.RecordBatch]] = {}
    for data in several:
        if data is not None:  # a silent board's day is shorter
            for table, batches in _rows(data).items():
                rows.setdefault(table, []).extend(batches)
    writer.write(rows)
    writer.flush()


def _rows(data: Data) -> Any:
    return rows_of(data)[0]


def _count(lake: Path) -> tuple[int, int]:
    """Points, and bytes of all files."""
    with Lake(lake) as opened:
        ((points,),) = opened.rows("SELECT count(*) FROM metrics")
    return points, sum(path.stat().st_size for path in lake.rglob("*.parquet"))


def _ask(notebook: Path, lake: Path) -> list[Any]:
    """Run it: CPU seconds of all questions and of the slowest, the kernel's peak, subject and cause that it names."""
    document = nbformat.read(notebook, as_version=4)
    (at,) = [n for n, cell in enumerate(document.cells) if "parameters" in cell.metadata.get("tags", [])]
    document.cells.insert(at + 1, nbformat.v4.new_code_cell(f"lake = {str(lake)!r}"))
    document.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    document.cells.append(nbformat.v4.new_code_cell(AFTER))
    try:
        NotebookClient(document, timeout=CELL_LIMIT).execute(stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        raise BenchError(f"{notebook.name}: {error.ename}: {error.evalue}") from error
    answer: list[Any] = json.loads(document.cells[-1].outputs[0].text)
    return answer
