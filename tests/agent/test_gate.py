"""What both deciders ask before they begin: budget, inhibitors with their limit, and whatever else is in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgesync.agent import gate as module
from edgesync.agent.gate import Deed, Gate
from edgesync.agent.inhibitors import Inhibitors
from edgesync.agent.ledger import Ledger
from edgesync.agent.month import end_of
from edgesync.host.clock import TrustedTime
from edgesync.host.tcp import Carried
from edgesync.wire.errors import DiskFullError, EdgesyncError, InhibitedError
from edgesync.wire.messages import Manners

NOW = 1_796_000_000
SWITCH = Deed("switch", "firmware")
FETCH = Deed("fetch", "firmware", 100_000)


class PlayedClock:
    """Both clocks of a board; `pass_by` lets time go on."""

    def __init__(self) -> None:
        self.at, self.time = 100.0, NOW

    def monotonic(self) -> float:
        return self.at

    def wall(self) -> int:
        return self.time

    def pass_by(self, seconds: int) -> None:
        self.at += seconds
        self.time += seconds


class Obstacle:
    def __init__(self) -> None:
        self.error: EdgesyncError | None = None
        self.asked = 0

    async def refusal(self, deed: Deed) -> EdgesyncError | None:
        self.asked += 1
        return self.error

    def gone(self) -> bool:
        return self.error is None


class Bench:
    def __init__(self, state: Path, obstacle: object = None, clock: PlayedClock | None = None) -> None:
        self.clock = clock or PlayedClock()
        self.obstacle = obstacle or Obstacle()
        self.ledger = Ledger(str(state))
        time = TrustedTime(self.clock, 0)
        obstacles = [self.obstacle]
        self.gate = Gate(str(state), obstacles, ledger=self.ledger, clock=self.clock, time=time)  # type: ignore[list-item, arg-type]
        self.told: list[EdgesyncError] = []

    def passing(self, deed: Deed) -> asyncio.Task[bool]:
        return asyncio.create_task(self.gate.passed(deed, self.told.append))

    async def stays_out(self, deed: Deed) -> None:
        task = self.passing(deed)
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()

    async def comes_through(self, deed: Deed) -> bool:
        return await asyncio.wait_for(self.gate.passed(deed, self.told.append), 5)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))  # type: ignore[arg-type]


def test_where_nothing_is_in_the_way_nobody_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        assert not await bench.comes_through(SWITCH)
        assert not await bench.comes_through(FETCH)
        assert bench.told == []

    play(scenario)


def test_what_is_in_the_way_is_told_once_and_when_it_is_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        obstacle = bench.obstacle
        assert isinstance(obstacle, Obstacle)
        obstacle.error = InhibitedError("command a says not now: exit status 1: 14 s left")
        task = bench.passing(SWITCH)
        await asyncio.sleep(0.05)
        for error in (
            InhibitedError("command a says not now: exit status 1: 9 s left"),
            InhibitedError("command b says not now: exit status 1"),
            DiskFullError("x"),
        ):
            obstacle.error = error
            bench.clock.pass_by(61)
            await asyncio.sleep(0.05)
        obstacle.error = None
        assert await asyncio.wait_for(task, 5)
        assert [str(error)[:9] for error in bench.told] == ["command a", "command b", "x (free s"]

    play(scenario)


def test_it_is_asked_once_a_minute_and_at_once_when_it_is_seen_to_be_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        obstacle = bench.obstacle
        assert isinstance(obstacle, Obstacle)
        obstacle.error = InhibitedError("x")
        task = bench.passing(SWITCH)
        for minute in range(1, 4):
            await asyncio.sleep(0.05)
            assert obstacle.asked == minute
            bench.clock.pass_by(60)
        obstacle.error = None
        assert await asyncio.wait_for(task, 5)

    play(scenario)


# --- the limit of deferral ------------------------------------------------------------------------------------------


def test_after_the_limit_it_goes_ahead_and_every_step_of_that_update_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        assert isinstance(bench.obstacle, Obstacle)
        bench.gate.follow(Manners(defer=3600))
        bench.obstacle.error = InhibitedError("x")
        await bench.stays_out(FETCH)
        bench.clock.pass_by(3599)
        await bench.stays_out(FETCH)
        bench.clock.pass_by(1)
        await bench.comes_through(FETCH)
        await bench.comes_through(SWITCH)
        bench.gate.settled("firmware")
        await bench.stays_out(SWITCH)

    play(scenario)


def test_without_a_limit_it_waits_for_ever_and_for_other_errors_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        assert isinstance(bench.obstacle, Obstacle)
        bench.obstacle.error = InhibitedError("x")
        await bench.stays_out(SWITCH)
        bench.clock.pass_by(10 * 365 * 86400)
        await bench.stays_out(SWITCH)
        bench.gate.follow(Manners(defer=60))
        await bench.comes_through(SWITCH)
        bench.obstacle.error = DiskFullError("not a question of patience")
        await bench.stays_out(SWITCH)

    play(scenario)


def test_the_wait_counts_from_the_first_not_now_over_restarts_and_other_releases(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = PlayedClock()
        for _ in range(4):
            bench = Bench(tmp_path, clock=clock)
            assert isinstance(bench.obstacle, Obstacle)
            bench.gate.follow(Manners(defer=3600))
            bench.obstacle.error = InhibitedError("x")
            await bench.stays_out(SWITCH)
            bench.obstacle.error = None
            assert not await bench.comes_through(FETCH), "the next release is fetched in between"
            clock.pass_by(900)
            clock.at = 5.0  # a reboot
        bench = Bench(tmp_path, clock=clock)
        assert isinstance(bench.obstacle, Obstacle)
        bench.gate.follow(Manners(defer=3600))
        bench.obstacle.error = InhibitedError("x")
        await bench.comes_through(SWITCH)

    play(scenario)


def test_what_was_let_through_unhindered_begins_anew_the_next_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        assert isinstance(bench.obstacle, Obstacle)
        bench.gate.follow(Manners(defer=3600))
        bench.obstacle.error = InhibitedError("x")
        await bench.stays_out(SWITCH)
        bench.obstacle.error = None
        await bench.comes_through(SWITCH)
        bench.clock.pass_by(4000)
        bench.obstacle.error = InhibitedError("x")
        await bench.stays_out(SWITCH)

    play(scenario)


def test_firmware_and_config_wait_each_for_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        assert isinstance(bench.obstacle, Obstacle)
        bench.gate.follow(Manners(defer=3600))
        bench.obstacle.error = InhibitedError("x")
        await bench.stays_out(SWITCH)
        bench.clock.pass_by(3000)
        await bench.stays_out(Deed("switch", "config"))
        bench.clock.pass_by(600)
        await bench.comes_through(SWITCH)
        await bench.stays_out(Deed("switch", "config"))

    play(scenario)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"firmware":"x"}', b'{"firmware":-1}', b"x" * 10_000])
def test_a_spoilt_file_makes_the_wait_longer_and_nothing_worse(tmp_path: Path, content: bytes) -> None:
    async def scenario() -> None:
        (tmp_path / "deferral.json").write_bytes(content)
        bench = Bench(tmp_path)
        assert isinstance(bench.obstacle, Obstacle)
        bench.gate.follow(Manners(defer=60))
        bench.obstacle.error = InhibitedError("x")
        await bench.stays_out(SWITCH)
        bench.clock.pass_by(60)
        await bench.comes_through(SWITCH)

    play(scenario)


# --- the budget -----------------------------------------------------------------------------------------------------


def test_a_fetch_waits_until_the_month_turns_or_the_budget_is_raised(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.ledger.look(Carried(total=950_000), NOW)
        bench.gate.follow(Manners(budget=1_000_000))
        assert not await bench.comes_through(SWITCH), "what is fetched is put in force"
        await bench.stays_out(FETCH)
        assert not await bench.comes_through(Deed("fetch", "config", 3000)), "the reserve is for config"
        task = bench.passing(FETCH)
        await asyncio.sleep(0.02)
        bench.gate.follow(Manners(budget=2_000_000))
        assert await asyncio.wait_for(task, 1), "at once, with no minute in between"
        bench.gate.follow(Manners(budget=1_000_000))
        task = bench.passing(FETCH)
        await asyncio.sleep(0.02)
        bench.clock.pass_by(end_of(NOW) - NOW)
        assert await asyncio.wait_for(task, 1)
        assert {error.name for error in bench.told} == {"BudgetSpent"}

    play(scenario)


# --- inhibitors -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_says_not_now_and_when_it_vanishes_the_update_goes_on_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        busy = tmp_path / "busy"
        bench = Bench(tmp_path, Inhibitors([str(tmp_path / "other"), str(busy)], {}, fetch=False))
        busy.touch()
        assert not await bench.comes_through(FETCH), "a fetch interrupts nobody"
        task = bench.passing(SWITCH)
        await asyncio.sleep(0.05)
        assert [str(error) for error in bench.told] == [f"{busy} is there"]
        busy.unlink()
        assert await asyncio.wait_for(task, 1)

    play(scenario)


def test_a_link_that_leads_nowhere_is_a_file_that_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "busy").symlink_to("/nowhere")
        await Bench(tmp_path, Inhibitors([str(tmp_path / "busy")], {}, fetch=True)).stays_out(FETCH)

    play(scenario)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("/bin/sh", "-c", "echo 3 jobs run; exit 1"), "command idle says not now: exit status 1: 3 jobs run"),
        (("/bin/sh", "-c", "sleep 20"), "command idle says not now: not done in time"),
        (("/no/such",), "command idle says not now: exit status 127: /no/such"),
    ],
)
def test_a_command_that_fails_hangs_or_is_not_there_says_not_now(
    tmp_path: Path, argv: tuple[str, ...], words: str
) -> None:
    async def scenario() -> None:
        inhibitors = Inhibitors([], {"calm": (("/bin/true",), 5.0), "idle": (argv, 0.3)}, fetch=False)
        error = await inhibitors.refusal(SWITCH)
        assert isinstance(error, InhibitedError)
        assert str(error).startswith(words)
        assert not inhibitors.gone()

    play(scenario)


def test_commands_that_succeed_are_in_nobodys_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        inhibitors = Inhibitors([], {"idle": (("/bin/true",), 5.0)}, fetch=True)
        assert not await Bench(tmp_path, inhibitors).comes_through(FETCH)

    play(scenario)
