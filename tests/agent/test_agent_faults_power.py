"""A real agent that is killed, or whose board loses power, in every phase of an update."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rig import Rig, alive, behind, carried, firmware, link

from edgesync.wire.blob import PIECE

pytestmark = pytest.mark.broker

OLD = firmware(512 << 10, 1)
NEW = firmware(512 << 10, 2)
LONG = firmware(64 << 10, 4) + bytes(24 << 20)
"""A small blob that keeps its worker busy for a while."""
OVERHEAD = 0.10
"""Of a blob's bytes: MQTT, index and `desired`."""
CONNECTING = 4096
"""Bytes of one connection's beginning."""

Fault = Callable[[Rig], None]


@pytest.mark.parametrize("fault", [Rig.kill_agent, Rig.power_cut])
def test_a_kill_in_mid_download_costs_at_most_the_two_pieces_in_flight(tmp_path: Path, fault: Fault) -> None:
    async def scenario() -> None:
        async with behind(link(1e6), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            before = proxy.counters().down
            await rig.offer(NEW, source)
            for part in (0.3, 0.7):
                await carried(proxy, before + int(part * source.length))
                fault(rig)
            last = await rig.confirmed(NEW)
            assert last.traffic.blob == source.length
            assert last.traffic.refetched <= 2 * 2 * PIECE
            # What the link carried is the proof: the agent cannot know what died in the kernel's buffers.
            most = (1 + OVERHEAD) * source.length + 2 * 2 * PIECE + 4 * CONNECTING
            assert proxy.counters().down - before <= most

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [Rig.kill_agent, Rig.power_cut])
def test_one_update_survives_a_kill_in_each_of_its_phases(tmp_path: Path, fault: Fault) -> None:
    async def scenario() -> None:
        async with behind(link(4e6), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(NEW)
            await rig.offer(NEW, source)
            since = 0
            for phase in ("fetch blob=", "apply component=", "applying > activating", "activating > confirming"):
                await rig.logged(phase, since=since)
                since = len(rig.log())
                fault(rig)
            last = await rig.confirmed(NEW)
            assert (last.slot, last.error, last.quarantine) == ("b", None, ())

    asyncio.run(scenario())


def test_an_agent_killed_in_mid_apply_takes_its_worker_along_and_fetches_nothing_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(LONG)
            await rig.offer(LONG, source)
            worker = await rig.apply_worker()
            os.kill(worker, signal.SIGSTOP)  # in the middle, and it would stay there
            agent = rig.agent_pid()
            rig.kill_agent()
            await rig.ended(agent)
            await rig.ended(worker)
            last = await rig.confirmed(LONG)
            assert (last.traffic.blob, last.traffic.refetched) == (source.length, 0)

    asyncio.run(scenario())


def test_a_worker_that_the_kernel_kills_is_named_and_its_work_done_by_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            await rig.offer(LONG, rig.full(LONG))
            os.kill(await rig.apply_worker(), signal.SIGKILL)
            # Not in a report: the next worker may have begun before one is due.
            await rig.logged("apply failed: WorkerDied", 30)
            last = await rig.confirmed(LONG)
            assert (last.error, last.traffic.refetched) == (None, 0)

    asyncio.run(scenario())


def test_an_agent_that_is_told_to_stop_in_mid_apply_ends_in_time_and_leaves_no_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(LONG)
            await rig.offer(LONG, source)
            worker, agent = await rig.apply_worker(), rig.agent_pid()
            os.kill(worker, signal.SIGSTOP)
            assert rig.process
            rig.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(rig.process.wait, 5) == 0
            assert not alive(agent)
            assert not alive(worker)
            end = [line for line in rig.log().splitlines() if '"agent-exit"' in line][-1]
            assert '"status": 0' in end, "by itself, not by SIGKILL"
            rig.start()
            last = await rig.confirmed(LONG)
            assert last.traffic.refetched == 0

    asyncio.run(scenario())
