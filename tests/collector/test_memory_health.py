"""Is the memory short: how it is judged, what is told, and to whom."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.extension.memory_health.config import MemoryHealthConfig
from collector_ext.extension.memory_health.extension import PATH, MemoryHealth
from collector_ext.extension.memory_health.factory import FACTORY
from collector_ext.extension.memory_health.judge import Judgement, Level, Reading, Thresholds, judge
from collector_ext.extension.memory_health.sources import Sources, TegraStats
from collector_ext.extension.memory_health.tegrastats import Tegra, parse
from collector_ext.pressure import MemoryPressure
from collector_ext.selfmetrics import QUEUE_BYTES, QUEUE_DROPPED, Meter
from collector_ext.status import Status
from collector_ext.testing.contract import refusal
from collector_ext.testing.doubles import Host, settings
from edgesync.host.cgroup import Usage
from edgesync.host.proc import Faults, Memory, Pressure

MIB = 1 << 20
LIMITS = Thresholds()


def reading(used: float, *, group: float | None = None, kills: int = 0, waiting: float = 0.0) -> Reading:
    """Percent of the machine and of a group that are used."""
    total = 1000 * MIB
    groups = (Usage("/group", round(group * MIB), 100 * MIB, None, 0, 0, 0),) if group is not None else ()
    memory = Memory(total, round(total * (1 - used / 100)), 0, 0)
    return Reading(memory, groups, Faults(0, kills), Pressure(0, 0, waiting, 0, 0, 0))


def levels(readings: Sequence[Reading]) -> list[Level]:
    judgement, found = Judgement(), []
    for one in readings:
        judgement = judge(judgement, one, LIMITS)
        found.append(judgement.level)
    return found


def of_usage(*percents: float) -> list[Level]:
    return levels([reading(percent) for percent in percents])


# --- judging ------------------------------------------------------------------------------------------------------


def test_the_level_rises_at_once_and_falls_after_two_calm_looks_below_the_margin() -> None:
    ok, soft, hard = Level
    assert of_usage(79, 80, 76, 76, 74, 74, 74) == [ok, soft, soft, soft, soft, ok, ok]
    assert of_usage(95, 86, 86, 84, 84) == [hard, hard, hard, hard, soft]
    assert of_usage(95, 50, 50) == [hard, hard, ok]
    assert of_usage(80, 74, 76, 74, 74) == [soft, soft, soft, soft, ok]


def test_the_fuller_of_machine_and_group_counts() -> None:
    assert levels([reading(10, group=95)]) == [Level.HARD]
    assert levels([reading(85, group=10)]) == [Level.SOFT]
    assert judge(Judgement(), reading(10, group=85), LIMITS).why == "85 % of /group is used"


def test_a_kill_is_hard_at_once_and_old_kills_are_history() -> None:
    assert levels([reading(10, kills=7)] * 2 + [reading(10, kills=8)]) == [
        Level.OK,
        Level.OK,
        Level.HARD,
    ]
    assert levels([reading(10), *[reading(10, kills=1)] * 3]) == [Level.OK, Level.HARD, Level.HARD, Level.OK]


def test_a_machine_where_all_wait_is_short_whatever_is_free() -> None:
    assert levels([reading(10, waiting=5.1)]) == [Level.HARD]
    assert levels([reading(10, waiting=5.0)]) == [Level.OK]
    alone = dataclasses.replace(LIMITS, pressure=0.0)
    assert judge(Judgement(), reading(10, waiting=99), alone).level is Level.OK


USES = st.lists(st.floats(0, 100), min_size=1, max_size=40)


@given(USES)
def test_it_is_never_better_than_usage_says_and_soft_is_never_left_within_the_margin(uses: list[float]) -> None:
    found = of_usage(*uses)
    for before, after, percent in zip([Level.OK, *found], found, uses, strict=False):
        assert after >= LIMITS.level(reading(percent).usage[0])
        if after < before:
            assert reading(percent).usage[0] < LIMITS.floor(before)


@given(USES)
def test_after_enough_calm_looks_all_is_well_whatever_was_before(uses: list[float]) -> None:
    assert of_usage(*uses, 10, 10, 10, 10)[-1] is Level.OK


@given(st.lists(st.floats(70.5, 79.5), min_size=2, max_size=40))
def test_usage_that_swings_around_a_threshold_less_than_the_margin_changes_the_level_once(uses: list[float]) -> None:
    found = of_usage(*[80 if at % 2 else max(percent, 75.5) for at, percent in enumerate(uses)])
    assert sum(one is not other for one, other in zip([Level.OK, *found], found, strict=False)) <= 1


# --- telling ------------------------------------------------------------------------------------------------------


class Played(Sources):
    """Readings that a test sets."""

    def __init__(self, first: Reading | None) -> None:
        super().__init__()
        self.next = first

    def look(self) -> Reading | None:
        return self.next

    @property
    def pressure_file(self) -> str:
        return "/nowhere"


def extension(sources: Sources, meter: Meter | None = None, **changes: Any) -> MemoryHealth:
    config = dataclasses.replace(MemoryHealthConfig(endpoint=""), **changes)
    return MemoryHealth(settings("memory_health", meter), config, sources, lambda: 1000.0)


def test_a_status_is_reported_when_the_level_changes_and_not_once_more() -> None:
    sources, host = Played(reading(10)), Host()

    async def life() -> None:
        one = extension(sources)
        await one.start(host)
        for percent in (10, 85, 86, 95, 95, 50, 50, 50):
            sources.next = reading(percent)
            one.look()
        await one.shutdown()

    asyncio.run(life())
    told = [(event.status, event.attributes.get("level")) for event in host.events[1:]]
    assert told == [
        (Status.RECOVERABLE_ERROR, "soft"),
        (Status.RECOVERABLE_ERROR, "hard"),
        (Status.OK, "ok"),
    ]
    assert host.refused == []
    assert str(host.events[1].error) == "85 % of the machine is used"
    assert host.events[1].attributes == {"level": "soft", "used_percent": "85", "of": "the machine"}


def test_whoever_asks_hears_why_and_that_it_is_over() -> None:
    sources = Played(reading(95))
    one = extension(sources)
    assert isinstance(one, MemoryPressure)
    assert one.shortage() is None
    one.look()
    shortage = one.shortage()
    assert shortage is not None
    assert (shortage.name, str(shortage), shortage.heals) == ("MemoryShort", "95 % of the machine is used", True)
    sources.next = reading(10)
    one.look()
    one.look()
    assert one.shortage() is None


def test_a_machine_that_tells_nothing_is_a_permanent_error() -> None:
    host = Host()

    async def life() -> None:
        one = extension(Played(None))
        await one.start(host)
        await one.shutdown()

    asyncio.run(life())
    assert host.status is Status.PERMANENT_ERROR


def test_it_looks_by_itself_and_more_often_while_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector_ext.extension.memory_health.extension.RECHECK", 0.001)
    sources, host = Played(reading(95)), Host()

    async def life() -> None:
        one = extension(sources, check_interval=3600.0)
        await one.start(host)
        assert host.status is Status.RECOVERABLE_ERROR
        sources.next = reading(10)
        while host.status is not Status.OK:
            await asyncio.sleep(0.001)
        await one.shutdown()

    asyncio.run(asyncio.wait_for(life(), 60))


@pytest.mark.parametrize(("after", "code", "healthy"), [(0.0, 200, True), (299.0, 200, True), (300.0, 500, False)])
def test_health_over_http_has_healthcheckv2s_codes(after: float, code: int, healthy: bool) -> None:
    clock = [1000.0]
    meter = Meter()
    meter.gauge(QUEUE_BYTES, "").set(4096, queue="mqtt")
    meter.counter(QUEUE_DROPPED, "").add(3, queue="mqtt")
    config = MemoryHealthConfig(endpoint="")
    one = MemoryHealth(settings("memory_health", meter), config, Played(reading(95, kills=2)), lambda: clock[0])
    one.look()
    clock[0] += after
    answer = one.answer(PATH, {})
    body = json.loads(answer.body)
    assert (answer.status, body["healthy"], body["status"]) == (code, healthy, "StatusRecoverableError")
    assert body["error"] == "95 % of the machine is used"
    assert body["attributes"]["level"] == "hard"
    memory = body["memory"]
    assert (memory["used_percent"], memory["oom_kills"]) == (95.0, 2)
    assert (memory["queue_bytes"], memory["queue_dropped"]) == (4096, 3)
    assert memory["own"]["share"] > 0
    assert one.answer("/", {}).status == 404


def test_prometheus_gets_the_same() -> None:
    meter = Meter()
    one = extension(Played(reading(85, group=50, kills=2, waiting=1.5)), meter)
    one.look()
    lines = meter.exposition().decode().splitlines()
    for line in (
        "collector_health_memory_level 1",
        "collector_health_memory_oom_kills 2",
        f"collector_health_memory_total_bytes {1000 * MIB}",
        f'collector_health_memory_cgroup_bytes{{cgroup="/group",kind="limit"}} {100 * MIB}',
        'collector_health_memory_pressure_percent{tasks="full",window="10s"} 1.5',
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"check_interval": 0.0}, "check_interval: found 0s"),
        ({"limit_percentage": 101}, "limit_percentage: found 101, expected 1 to 100"),
        ({"spike_limit_percentage": 90}, "spike_limit_percentage: found 90, expected 0 to 89"),
        ({"clear_percentage": 80}, "clear_percentage: found 80, expected 0 to 79"),
        ({"clear_checks": 0}, "clear_checks: found 0"),
        ({"pressure_percentage": 200.0}, "pressure_percentage: found 200"),
        ({"stall": 3.0}, "stall: found 3s, expected 1ms to 2s"),
        ({"recovery_duration": -1.0}, "recovery_duration: found -1s"),
        ({"endpoint": "x"}, "endpoint: found 'x'"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    assert message in refusal(FACTORY, **changes)


# --- tegrastats ---------------------------------------------------------------------------------------------------

LINES = {
    "RAM 4722/7764MB (lfb 5x4MB) SWAP 17/3882MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [24%@1190,off] EMC_FREQ 3% "
    "GR3D_FREQ 0% PLL@40C": Tegra(4722 * MIB, 7764 * MIB, 5, 4 * MIB, 17 * MIB, 3),
    "11-26-2026 08:30:00 RAM 2457/30536MB (lfb 6x4MB) SWAP 0/15268MB (cached 0MB) CPU [0%@729] GR3D_FREQ 0%": Tegra(
        2457 * MIB, 30536 * MIB, 6, 4 * MIB, 0, None
    ),
    "RAM 1024/1980MB CPU [1%@102]": Tegra(1024 * MIB, 1980 * MIB, 0, 0, 0, None),
}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:24])
def test_a_line_of_tegrastats_is_read(line: str) -> None:
    assert parse(line) == LINES[line]


@given(st.text(max_size=200) | st.from_regex(r"RAM [0-9]{0,30}/[0-9]{0,3}[kMG]?B( \(lfb .{0,20}\))?"))
def test_any_line_is_read_or_nothing(line: str) -> None:
    found = parse(line)
    assert found is None or found.total >= 0


def test_a_tegrastats_that_runs_beside_is_heard_and_its_end_is_no_error(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\necho noise\necho '{next(iter(LINES))}'\nsleep 3600\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)

    async def life() -> Tegra | None:
        beside = TegraStats(str(program), 1.0, settings("memory_health").logger)
        assert beside.wanted
        task = asyncio.create_task(beside.run())
        while beside.last is None:
            await asyncio.sleep(0.01)
        heard = beside.last
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert beside.last is None
        return heard

    assert asyncio.run(asyncio.wait_for(life(), 60)) == next(iter(LINES.values()))
    for absent in (str(tmp_path / "gone"), "off"):
        asyncio.run(TegraStats(absent, 1.0, settings("memory_health").logger).run())
    assert not TegraStats("off", 1.0, settings("memory_health").logger).wanted
