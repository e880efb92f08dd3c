"""What the collector weighs on a board: CollectorService with memory_health in a bare asyncio process, and looking.

Resident memory is the kernel's account of the peak of a process that was reaped, which repeats to within 0.1 MiB; the
least of three. CPU is that of the process, divided by its looks.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from collector_ext.ids import Signal
from collector_ext.otlp.compact import pack
from collector_ext.otlp.encode import encode
from tests.bench.measure import MIB, BenchError, Figure, Workshop, taken_by
from tests.bench.played_host import PlayedHost

LIMIT = 4 * MIB
"""Bytes that telemetry may add."""
MINUTE_LIMIT = 380
"""Bytes of a minute's host metrics."""
HOSTS, MINUTES = 5, 60
RUNS = 3
LOG_LINES = 100_000
SECONDS = 2.0
"""A process lives so long after its start."""

BARE = f"""\
import asyncio, dataclasses, logging
asyncio.run(asyncio.sleep({SECONDS}))
"""
COLLECTOR = f"""\
import asyncio, sys
from collector_ext.config import parse
from collector_ext.registry import EntryPoints
from collector_ext.service import CollectorService
from collector_ext.settings.load import load

async def main():
    service = CollectorService(parse(await load(sys.argv[1:]), EntryPoints()))
    await service.start()
    await asyncio.sleep({SECONDS})
    await service.shutdown()

asyncio.run(main())
"""
LOOKS = """\
import json, logging, time
from collector_ext.component import Settings
from collector_ext.extension.memory_health.config import MemoryHealthConfig
from collector_ext.extension.memory_health.extension import MemoryHealth
from collector_ext.ids import ComponentId
from collector_ext.selfmetrics import Meter

settings = Settings(ComponentId("memory_health"), logging.getLogger(), Meter())
extension = MemoryHealth(settings, MemoryHealthConfig(endpoint=""))
count, began = 2000, time.process_time()
for _ in range(count):
    extension.look()
print(json.dumps((time.process_time() - began) / count))
"""
LINES = """\
import asyncio, json, logging, sys, time
from collector_ext.component import Consumers, Settings
from collector_ext.ids import ComponentId
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.receiver import FileLog
from collector_ext.selfmetrics import Meter
from collector_ext.testing.doubles import Host

class Count:
    lines = 0
    async def consume(self, data):
        self.lines += len(data)

async def main(path, storage, expected):
    sink = Count()
    settings = Settings(ComponentId("filelog"), logging.getLogger(), Meter())
    config = FileLogConfig(include=(path,), start_at="beginning", storage=storage)
    receiver = FileLog(settings, config, Consumers(logs=sink))
    began = time.process_time()
    await receiver.start(Host())
    while sink.lines < expected:
        await asyncio.sleep(0.01)
    took = time.process_time() - began
    await receiver.shutdown()
    print(json.dumps(sink.lines / took))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def run(workshop: Workshop) -> Iterator[Figure]:
    room = workshop.room("telemetry")
    yield from _minute(room)
    (room / "collector.yaml").write_text(
        f"extensions: {{memory_health: {{endpoint: 'unix://{room}/health.sock', check_interval: 100ms}}}}\n"
        "service: {extensions: [memory_health]}\n"
    )
    bare = _peak(room, "bare", BARE)
    full = _peak(room, "collector", COLLECTOR, str(room / "collector.yaml"))
    yield Figure("a bare asyncio process", bare, "bytes", "peak, asyncio, logging and dataclasses imported")
    yield Figure("the collector with memory_health adds", full - bare, "bytes", "peak, health endpoint open", LIMIT)
    yield from _logs(room, full)
    yield Figure("CPU of one look", _looks(room) * 1e6, "us", "MemAvailable, cgroups, pressure, kills; 2,000 looks")


def _peak(room: Path, name: str, text: str, *arguments: str) -> int:
    script = room / f"{name}.py"
    script.write_text(text)
    return min(taken_by([sys.executable, str(script), *arguments]).peak for _ in range(RUNS))


def _logs(room: Path, without: int) -> Iterator[Figure]:
    """What filelog costs: CPU of a line, and memory beside a collector that has only memory_health."""
    log = room / "app.log"
    with log.open("w") as file:
        for number in range(LOG_LINES):
            file.write(
                f"2026-11-26T10:50:39.{number % 1000:03}Z INFO pump {number:06}: {'flow is as it should be ' * 3}\n"
            )
    (room / "logs.yaml").write_text(
        f"receivers: {{filelog: {{include: ['{log}'], start_at: beginning}}}}\n"
        "exporters: {debug: }\nservice: {pipelines: {logs: {receivers: [filelog], exporters: [debug]}}}\n"
    )
    peak = _peak(room, "collector", COLLECTOR, str(room / "collector.yaml"), str(room / "logs.yaml"))
    where = f"{LOG_LINES} lines, {log.stat().st_size / MIB:.0f} MiB, read from the beginning, positions kept"
    rate = max(_said(room, "lines", LINES, str(log), str(room / f"at-{n}"), str(LOG_LINES)) for n in range(RUNS))
    yield Figure("filelog: lines a CPU second", rate, "lines", where)
    yield Figure("filelog adds", peak - without, "bytes", "peak, while it reads that file, exporter debug")


def _looks(room: Path) -> float:
    return _said(room, "looks", LOOKS)


def _said(room: Path, name: str, text: str, *arguments: str) -> float:
    """The number that a script prints."""
    script = room / f"{name}.py"
    script.write_text(text)
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise BenchError(done.stderr[-600:])
    return float(json.loads(done.stdout))


def _minute(room: Path) -> Iterator[Figure]:
    """What a board's host metrics of a minute take, of boards that the dictionary was not made from."""
    sizes, series = [], 0
    for seed in range(1, HOSTS + 1):
        (place := room / f"host-{seed}").mkdir()
        host = PlayedHost(place, seed)
        for _ in range(MINUTES):
            metrics = host.minute()
            series = len(metrics)
            sizes.append(len(pack(Signal.METRICS, encode(metrics))))
    where = f"{series} series, {HOSTS} made-up boards, {MINUTES} minutes each, before MQTT's header"
    yield Figure("host metrics of a minute, median", statistics.median(sizes), "bytes", where, MINUTE_LIMIT)
    yield Figure("host metrics of a minute, the dearest", max(sizes), "bytes", where)
