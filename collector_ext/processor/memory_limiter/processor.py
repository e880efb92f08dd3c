"""Looks at the resident memory of this process every `check_interval`, and refuses data above the soft limit.

The Collector looks at Go's heap; Python has no such figure, and the resident size is what the kernel kills for.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time

from collector_ext.component import Consumer, Host, Settings
from collector_ext.consumererror import RetryableError
from collector_ext.pdata import Data
from collector_ext.processor.memory_limiter.config import MemoryLimiterConfig
from collector_ext.processor.memory_limiter.limiter import Limiter
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.host import cgroup, proc
from edgesync.wire.errors import MemoryShortError

_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryLimiter:
    """Senders hear a RetryableError while memory is short; a status tells when that begins and ends."""

    def __init__(self, settings: Settings, config: MemoryLimiterConfig, consumer: Consumer) -> None:
        self._config, self._consumer, self._log = config, consumer, settings.logger
        self._refused = settings.meter.counter("otelcol_processor_refused_items", "Items that were refused")
        self._name = str(settings.id)
        soft, hard = config.limits(total())
        self._limiter, self._limit = Limiter(soft, hard), soft
        self._background = Background()
        self._used = 0
        self._refusing = False

    async def start(self, host: Host) -> None:
        self.check(host)
        self._background.spawn(host, self._watch(host))

    async def shutdown(self) -> None:
        await self._background.end()

    async def consume(self, data: Data) -> None:
        """Raises RetryableError while this process is too large."""
        if self._refusing:
            self._refused.add(len(data), processor=self._name)
            raise RetryableError(self._reason(), self._config.check_interval)
        await self._consumer.consume(data)

    def check(self, host: Host) -> None:
        """One look."""
        self._used = resident()
        decision = self._limiter.check(self._used, time.monotonic())
        if decision.collect:
            before = self._used
            gc.collect()
            self._used = resident()
            self._limiter.collected(before, self._used, time.monotonic())
            decision = self._limiter.check(self._used, time.monotonic())
        if decision.refuse is not self._refusing:
            self._refusing = decision.refuse
            error = MemoryShortError(f"data refused: {self._reason()}") if decision.refuse else None
            host.report_status(Status.RECOVERABLE_ERROR if error else Status.OK, error)

    def _reason(self) -> str:
        return f"{self._used >> 20} MiB are resident, {self._limit >> 20} MiB may be"

    async def _watch(self, host: Host) -> None:
        while True:
            await asyncio.sleep(self._config.check_interval)
            self.check(host)


def resident() -> int:
    """Bytes."""
    fields = (proc.read("/proc/self/statm") or b"0 0").split()
    return int(fields[1]) * _PAGE


def total() -> int:
    """Bytes that this process could have: of the machine, or of the tightest cgroup."""
    memory, group = proc.memory(), cgroup.find()
    limits = [usage.limit for usage in cgroup.usages(group) if usage.limit] if group else []
    return min([memory.total if memory else 0, *limits])
