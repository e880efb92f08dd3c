"""What is done to trees, step by step on a real disk: answers to the decider, whatever the disk and the commands do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tree_parts import Disk, made

from edgesync.agent.gate import Gate
from edgesync.agent.ledger import Ledger
from edgesync.agent.staging import Staging
from edgesync.agent.tree import events
from edgesync.agent.tree import trees as trees_module
from edgesync.agent.tree.installer import Installer
from edgesync.agent.tree.trees import GRACE
from edgesync.boards.profile import Command, ConfigProfile
from edgesync.host.clock import SystemClock, TrustedTime
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ConfigTarget

ONE, TWO = {"app/main.conf": b"speed = 1\n"}, {"app/main.conf": b"speed = 2\n"}


class Bench:
    """An installer whose commands write to `log`, and what it has told."""

    def __init__(self, root: Path) -> None:
        self.disk, self.log = Disk(root / "config"), root / "log"
        clock = SystemClock()
        say = {name: Command(("/bin/sh", "-c", f"echo {name} >> {self.log}"), 10) for name in ("check", "old", "new")}
        hang = {"hang": Command(("/bin/sh", "-c", f"echo hang >> {self.log}; sleep 100"), 100)}
        self.told: asyncio.Queue[events.Event] = asyncio.Queue()
        self.switches = 0
        self.installer = Installer(
            self.disk.trees,
            self.disk.bundles,
            staging=Staging(str(root)),
            profile=ConfigProfile(("app/*",), say | hang),
            gate=Gate(str(root), (), ledger=Ledger(str(root)), clock=clock, time=TrustedTime(clock)),
            clock=clock,
            emit=self.told.put_nowait,
            switched=self._switched,
        )

    def _switched(self) -> None:
        self.switches += 1

    async def next(self) -> events.Event:
        return await asyncio.wait_for(self.told.get(), 20)

    def said(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


def target(data: bytes, digest: Digest) -> ConfigTarget:
    return ConfigTarget(digest, len(data))


def play(root: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        bench = Bench(root)
        running = asyncio.create_task(bench.installer.run())
        await asyncio.sleep(0)
        try:
            await scenario(bench)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_tree_is_checked_before_and_reloaded_after_it_is_in_force(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        data = made(ONE, check=("check",), reload=("new",))
        digest = bench.disk.keep(data)
        bench.installer.prepare(target(data, digest))
        assert await bench.next() == events.Prepared(digest)
        assert (bench.said(), bench.disk.trees.linked(), bench.switches) == (["check"], "", 0)
        bench.installer.attempt(digest)
        assert [await bench.next(), await bench.next()] == [events.Switched(digest), events.Proved(digest)]
        assert (bench.said(), bench.disk.trees.linked(), bench.switches) == (["check", "new"], digest, 1)

    play(tmp_path, scenario)


def test_what_is_prepared_already_goes_on_and_what_is_stopped_says_nothing_more(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        data = made(ONE, check=("hang",))
        digest = bench.disk.keep(data)
        for _ in range(3):
            bench.installer.prepare(target(data, digest))
        while bench.said() != ["hang"]:
            await asyncio.sleep(0.01)
        bench.installer.stop()
        other = made(TWO)
        kept = bench.disk.keep(other)
        bench.installer.prepare(target(other, kept))
        assert await bench.next() == events.Prepared(kept)
        assert bench.said() == ["hang"]

    play(tmp_path, scenario)


def test_a_bundle_that_is_not_here_and_does_not_come_is_modified(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.installer.prepare(ConfigTarget(Digest("ab" * 32), 10))
        failed = await bench.next()
        assert isinstance(failed, events.PrepareFailed)
        assert failed.error.name == "BaseModified"

    play(tmp_path, scenario)


def test_a_switch_for_which_there_is_no_room_leaves_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        one = bench.disk.install(made(ONE))
        two = bench.disk.keep(made(TWO))
        monkeypatch.setattr(trees_module, "free_bytes", lambda _: 0)
        bench.installer.attempt(two)
        failed = await bench.next()
        assert isinstance(failed, events.SwitchFailed)
        assert failed.error.name == "DiskFull"
        assert (bench.disk.trees.linked(), bench.switches) == (one, 0)

    play(tmp_path, scenario)


def test_going_back_reloads_who_read_the_old_and_who_read_the_failed_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        old = bench.disk.install(made(ONE, reload=("old",)))
        failed = bench.disk.install(made(TWO, reload=("new", "old")))
        bench.installer.go_back(old, failed, quiet=True)
        assert await bench.next() == events.WentBack(old)
        assert (bench.said(), bench.disk.trees.linked()) == ([], old)
        bench.disk.install(made(TWO, reload=("new", "old")))
        bench.installer.go_back(old, failed)
        assert await bench.next() == events.WentBack(old)
        assert (bench.said(), bench.disk.trees.linked()) == (["old", "new"], old)

    play(tmp_path, scenario)


def test_going_back_asks_for_nothing_that_can_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        old = bench.disk.install(made(ONE))
        (bench.disk.root / "current" / "app" / "main.conf").write_bytes(b"written to")
        failed = bench.disk.install(made(TWO))
        monkeypatch.setattr(trees_module, "free_bytes", lambda _: 0)  # so it cannot be made right
        (bench.disk.root / "bundles" / failed).unlink()
        bench.installer.go_back(old, failed)
        assert await bench.next() == events.WentBack(old)
        bench.disk.trees.prune((old,), now=0.0)
        bench.disk.trees.sweep(GRACE)
        (bench.disk.root / "bundles" / old).unlink()
        bench.disk.trees.unlink()
        bench.installer.go_back(old, "")
        assert await bench.next() == events.WentBack(old)
        assert bench.disk.trees.linked() == old
        bench.disk.trees.unlink()
        bench.disk.trees.prune((), now=0.0)
        bench.disk.trees.sweep(GRACE)
        bench.installer.go_back(old, "")
        lost = await bench.next()
        assert isinstance(lost, events.GoBackFailed)
        assert not lost.error.heals, "time brings nothing back"

    play(tmp_path, scenario)


def test_healing_is_of_what_is_in_force_by_then_and_of_nothing_else(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        one = bench.disk.install(made(ONE, reload=("old",)))
        (bench.disk.root / "current" / "app" / "main.conf").write_bytes(b"written to")
        bench.installer.heal(one)
        assert await bench.next() == events.Healed(one)
        assert bench.disk.read() == {"app/main.conf": (b"speed = 1\n", 0o644)}
        assert (bench.said(), bench.switches) == (["old"], 1)
        two = bench.disk.install(made(TWO))
        bench.installer.heal(one)
        bench.installer.heal(two)
        assert await bench.next() == events.Healed(two), "nothing is said of the other"

    play(tmp_path, scenario)


def test_a_tree_that_failed_goes_when_its_readers_had_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        old, failed = bench.disk.install(made(ONE)), bench.disk.install(made(TWO))
        bench.installer.go_back(old, failed)
        bench.installer.prune((old,))
        assert await bench.next() == events.WentBack(old)
        async with bench.installer.at_work:  # what was asked for is done
            assert (bench.disk.root / "trees" / failed / "app" / "main.conf").read_bytes() == b"speed = 2\n"
        monkeypatch.setattr(trees_module, "GRACE", 0.05)
        bench.installer.prune((old,))
        async with asyncio.timeout(20):
            while len(list((bench.disk.root / "trees").iterdir())) > 1:
                await asyncio.sleep(0.01)
        assert bench.disk.trees.linked() == old

    play(tmp_path, scenario)


def test_a_failure_without_a_name_is_raised_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        one = bench.disk.keep(made(ONE))

        def broken(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(bench.disk.trees, "switch", broken)
        running = asyncio.create_task(bench.installer.run())
        await asyncio.sleep(0)
        bench.installer.attempt(one)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(running, 20)

    asyncio.run(scenario())
