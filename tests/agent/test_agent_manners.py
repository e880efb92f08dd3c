"""Real agents that are told when, how much and how fast: inhibitors, the month's budget, rate and share."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from config_rig import ConfigRig, bundle
from rig import DEVICE, FLEET, Rig, behind, changed, firmware, link

from edgesync.wire import topics
from edgesync.wire.ids import digest_of
from edgesync.wire.messages import ConfigPhase, Manners, Phase, Reported

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


# --- check-in -------------------------------------------------------------------------------------------------------

AWAY = Manners(check_in=3600)


async def left(rig: Rig, since: int = 0) -> int:
    """Until the board has left behind the first `since` characters of its log; how long that log is then."""
    await rig.logged("leaving for", since=since)
    at = since + rig.log()[since:].index("leaving for")
    await rig.logged("not connected", since=at)
    return len(rig.log())


def wake(rig: Rig) -> None:
    os.kill(rig.agent_pid(), signal.SIGUSR1)


def test_a_board_that_checks_in_leaves_says_so_once_and_does_a_whole_update_when_it_is_woken(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        await rig.want(rig.desired(OLD, None, manners=AWAY))
        gone = await left(rig)
        assert await rig.retained(topics.up(FLEET, DEVICE)) == b"0"
        since = len(rig.reports)
        source = rig.delta(OLD, NEW)
        await rig.publish(source.blob)
        await rig.want(rig.desired(NEW, source, manners=AWAY))
        await asyncio.sleep(1.5)
        assert "connected to" not in rig.log()[gone:], "nothing brings it but time and a wish"
        wake(rig)
        last = await rig.confirmed(NEW, since=since)
        assert (last.slot, last.traffic.blob) == ("b", source.length)
        await left(rig, gone)
        assert await rig.retained(topics.up(FLEET, DEVICE)) == b"0"

    play(tmp_path, scenario)


def test_a_check_in_without_news_brings_no_report_and_comes_again_by_itself(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        await rig.want(rig.desired(OLD, None, manners=Manners(check_in=2)))
        gone = await left(rig)
        said = len(rig.reports)
        for _ in range(3):
            gone = await left(rig, gone)
        assert len(rig.reports) == said

    play(tmp_path, scenario)


def test_an_away_board_that_loses_its_power_comes_at_once_and_says_so(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        first = await rig.begin(OLD)
        await rig.want(rig.desired(OLD, None, manners=AWAY))
        gone = await left(rig)
        since = len(rig.reports)
        rig.power_cut()
        again = await rig.confirmed(OLD, since=since)
        assert again.boot_id != first.boot_id
        await left(rig, gone)

    play(tmp_path, scenario)


def test_a_board_that_shall_stay_connected_again_leaves_its_last_will_with_the_broker(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        await rig.want(rig.desired(OLD, None, manners=AWAY))
        gone = await left(rig)
        await rig.want(rig.desired(OLD, None))
        wake(rig)
        await rig.logged("connected to", since=gone)
        for word, act in ((b"1", lambda: None), (b"0", rig.kill_agent), (b"1", lambda: None)):
            act()
            await until_retained(rig, word)
        assert "leaving" not in rig.log()[gone:]

    play(tmp_path, scenario)


def test_a_board_whose_month_is_spent_says_so_leaves_and_is_not_lost_to_its_fleet(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.begin(OLD)
        await rig.want(rig.desired(OLD, None, manners=Manners(budget=1000)))
        gone = await left(rig)
        assert "is spent" in rig.log()
        assert rig.reports[-1].month > 1000
        source = rig.delta(OLD, NEW)
        await rig.publish(source.blob)
        await rig.want(rig.desired(NEW, source, manners=Manners(budget=10 * source.length)))
        wake(rig)
        await rig.confirmed(NEW)
        assert "leaving" not in rig.log()[gone:]

    play(tmp_path, scenario)


async def until_retained(rig: Rig, word: bytes, limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while await rig.retained(topics.up(FLEET, DEVICE)) != word:
        assert time.monotonic() < end, f"never {word!r}\n{rig.log()[-4000:]}"
        await asyncio.sleep(0.2)


# --- config ---------------------------------------------------------------------------------------------------------


def test_a_switch_of_the_config_waits_for_a_file_over_a_power_cut_and_its_fetch_does_not(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        config = ConfigRig(rig)
        await rig.begin(OLD)
        (rig.board / "busy").touch()
        first = bundle({"app/a": "1"})
        await config.offer(OLD, first)
        told = await rig.reported(is_config_put_off("Inhibited"))
        assert told.phase is Phase.IDLE, "the firmware is not concerned"
        since = len(rig.reports)
        rig.power_cut()
        await rig.reported(is_config_put_off("Inhibited"), since=since)
        assert config.linked() is None
        (rig.board / "busy").unlink()
        await config.settled(first)
        assert config.linked() == digest_of(first)

    play(tmp_path, scenario, inhibit='[inhibit]\nfiles = ["busy"]\n')


def test_config_may_spend_what_is_kept_of_the_budget_and_waits_when_all_is_spent(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        config = ConfigRig(rig)
        await rig.begin(OLD)
        first, second = bundle({"app/a": "1"}), bundle({"app/a": "2"})
        await config.offer(OLD, first, manners=Manners(budget=1))
        await rig.reported(is_config_put_off("BudgetSpent"))
        gone = await left(rig)
        await config.offer(OLD, second, manners=Manners(budget=1_000_000))
        wake(rig)
        await config.settled(second)
        assert "leaving" not in rig.log()[gone:]

    play(tmp_path, scenario)


def test_a_check_in_brings_config_switches_reports_and_leaves(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        config = ConfigRig(rig)
        await rig.begin(OLD)
        await rig.want(rig.desired(OLD, None, manners=AWAY))
        gone = await left(rig)
        data = bundle({"app/a": "1"})
        await config.offer(OLD, data, manners=AWAY)
        wake(rig)
        told = await config.settled(data)
        assert told.config
        await left(rig, gone)
        assert rig.log()[gone:].count("connected to") - rig.log()[gone:].count("not connected to") == 1

    play(tmp_path, scenario)


def is_config_put_off(name: str) -> Callable[[Reported], bool]:
    def fits(told: Reported) -> bool:
        config = told.config
        waits = config is not None and config.phase is ConfigPhase.WAITING
        return waits and config is not None and config.error is not None and config.error.name == name

    return fits
