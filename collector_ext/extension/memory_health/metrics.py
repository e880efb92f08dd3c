"""What Prometheus and GET /v1/health get: the last judgement, a look of this moment, what the process itself has."""

from __future__ import annotations

from typing import Any

from collector_ext.extension.memory_health.judge import Judgement, Reading
from collector_ext.extension.memory_health.tegrastats import Tegra
from collector_ext.selfmetrics import QUEUE_BYTES, QUEUE_DROPPED, Meter
from edgesync.host.proc import Own

PREFIX = "collector_health_memory"


class MemoryMetrics:
    """OpenTelemetry has no names for pressure, kills and groups, so all are ours. Bytes, seconds and percent."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        gauge, counter = meter.gauge, meter.counter
        self._level = gauge(f"{PREFIX}_level", "0 enough, 1 short, 2 very short")
        self._total = gauge(f"{PREFIX}_total_bytes", "What the machine has")
        self._available = gauge(f"{PREFIX}_available_bytes", "What can be had without swapping")
        self._swap = gauge(f"{PREFIX}_swap_used_bytes", "Swap in use")
        self._own = gauge(f"{PREFIX}_own_bytes", "This process: resident, its share (PSS), anonymous")
        self._group = gauge(f"{PREFIX}_cgroup_bytes", "The own cgroup and those above it")
        self._at_limit = counter(f"{PREFIX}_cgroup_at_limit", "How often a cgroup met its limit")
        self._pressure = gauge(f"{PREFIX}_pressure_percent", "Part of 10 and 60 seconds that some or all tasks waited")
        self._waited = counter(f"{PREFIX}_pressure_seconds", "Seconds that some or all tasks waited for memory")
        self._kills = counter(f"{PREFIX}_oom_kills", "Processes that the kernel killed for memory")
        self._faults = counter(f"{PREFIX}_major_faults", "Page faults that waited for storage")
        self._block = gauge(f"{PREFIX}_largest_block_bytes", "Jetson: the largest free block")

    def set(self, judgement: Judgement, reading: Reading, own: Own | None, tegra: Tegra | None) -> None:
        memory = reading.memory
        self._level.set(judgement.level)
        self._total.set(memory.total)
        self._available.set(memory.available)
        self._swap.set(memory.swap_total - memory.swap_free)
        self._kills.set(reading.kills)
        if own:
            for kind in ("resident", "share", "anonymous"):
                self._own.set(getattr(own, kind), kind=kind)
        self._group.clear()
        self._at_limit.clear()
        for group in reading.groups:
            values = {"used": group.used, "limit": group.limit, "high": group.high, "swap": group.swap}
            for kind, value in values.items():
                if value is not None:
                    self._group.set(value, cgroup=group.path, kind=kind)
            self._at_limit.set(group.at_limit, cgroup=group.path)
        if reading.faults:
            self._faults.set(reading.faults.major)
        if pressure := reading.pressure:
            for tasks in ("some", "full"):
                for window in (10, 60):
                    self._pressure.set(getattr(pressure, f"{tasks}{window}"), tasks=tasks, window=f"{window}s")
                self._waited.set(getattr(pressure, f"{tasks}_total") / 1e6, tasks=tasks)
        if tegra:
            self._block.set(tegra.block)

    def body(self, reading: Reading, own: Own | None, tegra: Tegra | None) -> dict[str, Any]:
        """The member `memory` of GET /v1/health."""
        memory = reading.memory
        percent, of_what = reading.usage
        body: dict[str, Any] = {
            "used_percent": round(percent, 1),
            "of": of_what,
            "total": memory.total,
            "available": memory.available,
            "swap_used": memory.swap_total - memory.swap_free,
            "oom_kills": reading.kills,
            "queue_bytes": int(self._meter.total(QUEUE_BYTES)),
            "queue_dropped": int(self._meter.total(QUEUE_DROPPED)),
            "cgroups": [_of(group) for group in reading.groups],
        }
        if own:
            body["own"] = _of(own)
        if reading.pressure:
            body["pressure"] = _of(reading.pressure)
        if reading.faults:
            body["major_faults"] = reading.faults.major
        if tegra:
            body["tegra"] = _of(tegra)
        return body


def _of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}
