"""`python -m tests.bench.dictionary`: make the newest preset dictionary of `collector_ext.otlp.compact` from made-up
boards. A dictionary that was released is never made anew: give it the next number.

Deflate looks 32 KiB back, and nearer is cheaper, so what boards send every minute stands at the end.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from collector_ext.component import Consumers
from collector_ext.otlp import compact
from collector_ext.otlp.encode import encode
from collector_ext.pdata import LogRecord, Logs, Metrics, Resource, ResourceLogs, Scope, ScopeLogs
from collector_ext.receiver.agent.config import AgentReceiverConfig
from collector_ext.receiver.agent.receiver import AgentReceiver, traces
from collector_ext.testing.doubles import settings
from edgesync.agent.month import Month
from edgesync.agent.readings import readings
from edgesync.agent.tracing import Progress, View, follow
from edgesync.wire import trace
from edgesync.wire.ids import DeviceId
from edgesync.wire.trace import Span
from tests.bench.played_host import BOOT, PlayedHost

DEVICE = DeviceId("fleet.b01")
PHASES = ("fetching", "applying", "activating", "confirming", "idle")


def update() -> list[Span]:
    """What a board tells of an update that went well."""
    progress, before, told = Progress(), View("", "idle", over=True), []
    attributes = {
        "edgesync.slot": "b",
        "edgesync.boot_id": "0" * 36,
        "edgesync.release": "v2",
        "edgesync.revision": "0" * 40,
    }
    for number, phase in enumerate(PHASES):
        view = View("0" * 12, phase, phase == "idle", phase == "activating", "", attributes)
        progress, spans = follow(progress, trace.UPDATE, DEVICE, (before, view), BOOT + 20.0 * number)
        before, told = view, [*told, *spans]
    return told


def of_agent() -> Metrics:
    """What a board tells of its link."""
    receiver = AgentReceiver(settings("agent"), AgentReceiverConfig(), Consumers())
    metrics = receiver._metrics(readings(Month(BOOT, 900, 10, 20, 30, 40, 50, 60), 0), BOOT + 60.0)
    assert metrics
    return metrics


def log() -> Logs:
    record = LogRecord(BOOT * 10**9, "phase idle > fetching", BOOT * 10**9, 9, "INFO")
    scope = ScopeLogs((record,), Scope("edgesync.agent"))
    return Logs((ResourceLogs((scope,), Resource({"service.name": "edgesync-agent"})),))


def make() -> bytes:
    """The same bytes each time."""
    with tempfile.TemporaryDirectory() as place:
        host = PlayedHost(Path(place), seed=0)
        minutes = [host.minute() for _ in range(2)]
    return b"".join(encode(data) for data in (log(), traces(update()), of_agent(), *minutes))


def main() -> None:
    place = Path(compact.__file__).with_name(f"dictionary-{compact.NEWEST}.bin")
    place.write_bytes(make())
    print(f"{place}: {place.stat().st_size} bytes")


if __name__ == "__main__":
    main()
