"""Drift as the watch finds it: at its times, by the kernel's word, and not for ever."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tree_parts import Disk, made

from edgesync.agent.tree import events, notify
from edgesync.agent.tree import watch as module
from edgesync.agent.tree.watch import Watch

FILES = {"app/main.conf": b"speed = 1\n", "key": b"secret"}


class Bench:
    """A watch over a config on a disk, which is told things in `told`."""

    def __init__(self, root: Path) -> None:
        self.disk = Disk(root / "config")
        self.told: asyncio.Queue[events.Event] = asyncio.Queue()
        self.at_work = asyncio.Lock()
        self.watch = Watch(self.disk.trees, self.disk.bundles, self.at_work, self.told.put_nowait)

    async def next(self) -> events.Event:
        return await asyncio.wait_for(self.told.get(), 20)

    @property
    def conf(self) -> Path:
        return self.disk.root / "current" / "app" / "main.conf"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE", 0.05)
    monkeypatch.setattr(module, "PAUSE_FIRST", 0.05)


def play(root: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def watched() -> None:
        bench = Bench(root)
        watching = asyncio.create_task(bench.watch.run())
        try:
            await scenario(bench)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(asyncio.wait_for(watched(), 60))


@pytest.mark.parametrize("drift", ["heal", "report"])
def test_the_kernels_word_leads_to_a_look_that_says_what_differs(tmp_path: Path, drift: str) -> None:
    async def scenario(bench: Bench) -> None:
        config = bench.disk.install(made(FILES, drift=drift))
        bench.watch.switched()
        assert await bench.next() == events.Drifted(config, 0, drift == "heal")
        bench.conf.write_bytes(b"speed = 9\n")
        assert await bench.next() == events.Drifted(config, 1, drift == "heal")
        (bench.disk.root / "current" / "new").write_bytes(b"x")
        assert await bench.next() == events.Drifted(config, 2, drift == "heal")

    play(tmp_path, scenario)


def test_a_link_that_someone_moves_or_removes_is_told(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        one = bench.disk.install(made(FILES))
        two = bench.disk.install(made({"x": b"2"}))
        bench.watch.switched()
        assert await bench.next() == events.Drifted(two, 0, heal=True)
        bench.disk.trees.switch(one)
        assert await bench.next() == events.Drifted(one, 0, heal=True)
        os.unlink(bench.disk.root / "current")
        assert await bench.next() == events.Drifted("", 0, heal=True)

    play(tmp_path, scenario)


def test_without_inotify_it_looks_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> int:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(notify, "_watching", missing)
    monkeypatch.setattr(module, "EVERY", 0.2)

    async def scenario(bench: Bench) -> None:
        config = bench.disk.install(made(FILES))
        assert await bench.next() == events.Drifted(config, 0, heal=True)
        bench.conf.chmod(0o600)
        while await bench.next() != events.Drifted(config, 1, heal=True):
            pass

    play(tmp_path, scenario)


def test_someone_who_writes_again_and_again_is_listened_to_ever_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds > module.SETTLE:
            pauses.append(seconds)
        await real(min(seconds, 0.01))

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(module, "PAUSE_FIRST", 10.0)

    async def scenario(bench: Bench) -> None:
        bench.disk.install(made(FILES))
        bench.watch.switched()
        for number in range(12):
            bench.conf.write_bytes(b"%d" % number)
            await bench.next()
            await real(0.05)
        assert pauses[:4] == [10.0, 20.0, 40.0, 80.0]
        assert max(pauses) == module.PAUSE_LIMIT
        bench.conf.write_bytes(b"speed = 1\n")
        while (await bench.next()) != events.Drifted(bench.disk.trees.linked(), 0, heal=True):
            pass
        count = len(pauses)
        bench.conf.write_bytes(b"again")
        while len(pauses) == count:
            await real(0.01)
        assert pauses[-1] == 10.0, "a look without drift forgets it"

    play(tmp_path, scenario)


def test_a_look_waits_for_whoever_writes_to_the_trees(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.disk.install(made(FILES))
        async with bench.at_work:
            bench.watch.switched()
            await asyncio.sleep(0.3)
            assert bench.told.empty()
        await bench.next()

    play(tmp_path, scenario)


def test_a_tree_whose_bundle_is_lost_is_told_as_not_to_be_healed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        config = bench.disk.install(made(FILES))
        (bench.disk.root / "bundles" / config).write_bytes(b"rot")
        bench.watch.switched()
        failed = await bench.next()
        assert isinstance(failed, events.HealFailed)
        assert (failed.config, failed.error.name) == (config, "BaseModified")

    play(tmp_path, scenario)


def test_watching_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.disk.install(made(FILES))
        for number in range(5):
            bench.disk.install(made({**FILES, "n": b"%d" % number}))
            bench.watch.switched()
            await bench.next()

    before = len(os.listdir("/proc/self/fd"))
    play(tmp_path, scenario)
    assert len(os.listdir("/proc/self/fd")) == before
