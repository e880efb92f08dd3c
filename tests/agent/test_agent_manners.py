"""Real agents that are told when, how much and how fast: inhibitors, the month's budget, rate and share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, behind, changed, firmware, link

from edgesync.wire.messages import Manners, Phase, Reported

pytestmark = pytest.mark.broker

OLD = firmware(1 << 20, 1)
NEW = changed(OLD, 2, 4000)


def play(root: Path, scenario: Callable[[Rig], Coroutine[Any, Any, None]], *, inhibit: str = "") -> None:
    async def run() -> None:
        async with behind(link(), root) as (rig, _):
            with (rig.board / "agent.toml").open("a") as config:
                config.write(inhibit)
            await scenario(rig)

    asyncio.run(run())


def is_put_off(name: str) -> Callable[[Reported], bool]:
    return lambda r: r.phase is Phase.WAITING and r.error is not None and r.error.name == name


def test_an_update_waits_for_a_file_over_kills_and_power_cuts_and_goes_on_when_it_vanishes(tmp_path: Path) -> None:
    busy = tmp_path / "board" / "busy"

    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        busy.touch()
        await rig.offer(NEW, rig.delta(OLD, NEW))
        told = await rig.reported(is_put_off("Inhibited"))
        assert told.error
        assert str(busy) in told.error.detail
        for end in (rig.kill_agent, rig.power_cut):
            since = len(rig.reports)
            end()
            await rig.reported(is_put_off("Inhibited"), since=since)
        assert told.slot == "a"
        busy.unlink()
        last = await rig.confirmed(NEW)
        assert (last.slot, last.traffic.refetched) == ("b", 0)

    play(tmp_path, scenario, inhibit='[inhibit]\nfiles = ["busy"]\n')


def test_after_the_fleets_limit_an_update_goes_ahead_against_what_is_in_the_way(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        (rig.board / "busy").touch()
        await rig.begin(OLD)
        source = rig.delta(OLD, NEW)
        await rig.publish(source.blob)
        await rig.want(rig.desired(NEW, source, manners=Manners(defer=3)))
        await rig.reported(is_put_off("Inhibited"))
        await rig.confirmed(NEW)
        assert "goes ahead" in rig.log()

    play(tmp_path, scenario, inhibit='[inhibit]\nfiles = ["busy"]\nfetch = true\n')


def test_a_fetch_that_the_month_cannot_hold_waits_for_a_larger_budget_with_all_figures_told(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        source = rig.delta(OLD, NEW)
        await rig.publish(source.blob)
        await rig.want(rig.desired(NEW, source, manners=Manners(budget=source.length)))
        told = await rig.reported(is_put_off("BudgetSpent"))
        assert told.error
        assert str(source.length) in told.error.detail
        assert 0 < told.month < source.length
        assert told.traffic.blob == 0
        await rig.want(rig.desired(NEW, source, manners=Manners(budget=10 * source.length)))
        last = await rig.confirmed(NEW)
        assert last.month > source.length

    play(tmp_path, scenario)


def test_a_slow_pace_brings_every_byte_once_and_no_silence_is_seen_in_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        source = rig.delta(OLD, NEW)
        await rig.publish(source.blob)
        await rig.want(rig.desired(NEW, source, manners=Manners(rate=10_000, share=50)))
        last = await rig.confirmed(NEW, 60)
        assert (last.traffic.blob, last.traffic.refetched) == (source.length, 0)
        assert "no answer" not in rig.log()

    play(tmp_path, scenario)
