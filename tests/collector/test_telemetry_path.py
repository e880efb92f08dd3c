"""From a board's kernel to rows in the lake: a real agent, a real broker with certificates, a real collector."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from telemetry_lab import collector, ship, telling, until

from collector_ext.lake.compact import compact
from collector_ext.lake.reader import Lake
from edgesync.sim.lab import Lab
from edgesync.wire import trace
from edgesync.wire.ids import DeviceId

DEVICE = DeviceId("demo.b01")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with telling(tmp_path) as running:
        config = running.directory / "boards/b01/collector.yaml"
        log = f"receivers:\n  filelog: {{include: ['{running.log('b01')}']}}\n"
        told = config.read_text().replace("receivers:\n", log, 1)
        config.write_text(told + "    logs: {receivers: [filelog], exporters: [mqtt]}\n")
        yield running


def ask(lab: Lab, question: str) -> list[tuple[Any, ...]]:
    place = lab.directory / "collector/lake"
    if not place.is_dir():
        return []
    with Lake(place) as lake:
        return lake.rows(question)


@pytest.mark.broker
def test_what_a_board_tells_is_in_the_lake_over_a_kill_of_the_collector(lab: Lab) -> None:
    lab.start_server()
    lab.start_board("b01")
    first = collector(lab)
    until(lambda: any((lab.directory / "collector/lake/wal").glob("metrics-*.wal")), "telemetry in the log")
    time.sleep(2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    ship(lab)
    until(lambda: "phase confirming > idle" in lab.log("b01").read_text(), "the update, while nobody collects")
    soon = lab.directory / "soon.yaml"
    soon.write_text("exporters: {parquet: {flush_interval: 1s}}\n")
    second = collector(lab, soon)
    until(lambda: ask(lab, "FROM traces WHERE name = 'update'"), "the trace in the lake")
    until(lambda: ask(lab, "FROM logs WHERE contains(body, 'phase confirming > idle')"), "what the board said of it")
    until(lambda: ask(lab, "FROM metrics WHERE metric = 'edgesync.config.drift'"), "the drift of its config")
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=30) == 0
    names = {name for (name,) in ask(lab, "SELECT DISTINCT metric FROM metrics WHERE device = 'demo.b01'")}
    assert {"system.memory.usage", "system.cpu.time", "edgesync.link.io", "edgesync.config.drift"} <= names
    spans = ask(lab, "SELECT name, trace_id, parent_span_id FROM traces WHERE device = 'demo.b01' ORDER BY time")
    assert {name for name, _, _ in spans} >= {"fetching", "applying", "activating", "confirming", "update"}
    (update,) = [(own, parent) for name, own, parent in spans if name == "update"]
    assert update[1] == trace.span_id(trace.TraceId(update[0]), trace.BOARD)
    bodies = [body for (body,) in ask(lab, "SELECT body FROM logs WHERE device = 'demo.b01' ORDER BY time")]
    assert any("phase confirming > idle" in body for body in bodies)
    assert set(bodies) <= set(lab.log("b01").read_text().splitlines())
    # What was synced and not yet acknowledged at the kill came again; housekeeping leaves it once.
    assert list(compact(lab.directory / "collector/lake", time.time() + 7200))
    twice = ask(lab, "SELECT count(*) - count(DISTINCT (metric, attributes, time)) FROM metrics")
    assert twice == [(0,)]
