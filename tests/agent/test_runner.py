"""What the runner itself decides: what it hears, what it waits for, and a clock that jumps. Workers are real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

import edgesync.delta
from edgesync.agent import effects, events, record, runner
from edgesync.agent.config import AgentConfig
from edgesync.agent.runner import AgentService
from edgesync.boards import profile
from edgesync.boards.bootenv import BootEnv, BootRecord, read_env, write_env, write_record
from edgesync.boards.files import FilesBackend
from edgesync.delta import mixing, switch
from edgesync.trust import director, keys
from edgesync.wire import topics
from edgesync.wire.errors import DiskFullError
from edgesync.wire.ids import device_id, digest_of
from edgesync.wire.messages import Desired, Reported, Target

DEVICE = device_id("acme", "b1")
DESIRED = topics.desired("acme", DEVICE)
YEAR = 365 * 86400


class Backend(FilesBackend):
    """Whose disk is full for the next `full` writes of the boot environment."""

    full = 0

    def mark_good(self) -> None:
        if self.full:
            self.full -= 1
            raise DiskFullError("try.json: No space left on device")
        super().mark_good()


class Bench:
    """An agent on trial in slot b that was never started: its parts are called by hand."""

    def __init__(self, root: Path) -> None:
        (root / "slots" / "b").mkdir(parents=True)
        (root / "slots" / "b" / "rootfs.img").write_bytes(b"image")
        write_env(root / "slots", BootEnv("a", "b", 2))
        write_record(root / "slots", BootRecord("boot-1", "b", trial=True))
        public = keys.generate(str(root / "director.key"))
        keys.generate(str(root / "root.key"))
        self.signer = keys.load_signer(str(root / "director.key"))
        expires = int(time.time()) + YEAR
        (root / "root.json").write_bytes(
            director.create_root(public, keys.load_signer(str(root / "root.key")), expires)
        )
        self.backend = Backend(root / "slots", 3)
        config = AgentConfig(
            DEVICE,
            "files",
            str(root / "state"),
            "127.0.0.1",
            1,
            None,
            60,
            str(root / "root.json"),
            "",
            "",
            str(root / "config"),
        )
        self.service = AgentService(config, self.backend, replace(profile.load("files"), confirm_seconds=5))
        self.root = root

    def signed(self, version: int) -> bytes:
        target = Target("rootfs", "v", 5, digest_of(b"image"))
        desired = Desired(DEVICE, version, "0" * 40, "r", "r", (target,))
        return director.sign_desired(desired, self.signer, int(time.time()) + YEAR)

    async def next(self) -> events.Event:
        return await asyncio.wait_for(self.service._events.get(), 20)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))  # type: ignore[arg-type]


def test_a_healthy_slot_is_marked_good_as_soon_as_the_full_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "SAVE_WAIT", 0.01)

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.backend.full = 3
        bench.service._perform(effects.MarkGood())
        for _ in range(3):
            noticed = await bench.next()
            assert isinstance(noticed, events.Noticed)
            assert noticed.error.name == "DiskFull"
        await asyncio.sleep(0.05)
        assert read_env(tmp_path / "slots") == BootEnv("b")

    play(scenario)


@pytest.mark.parametrize(
    ("topic", "payload", "name"),
    [
        (DESIRED, b"x" * 9000, "MessageTooLarge"),
        ("es1/acme/nonsense", b"x", "MalformedMessage"),
        ("", b"x", "MalformedMessage"),
        ("es1/acme/d/" + "x" * 300 + "/desired", b"x", "MalformedMessage"),
    ],
)
def test_what_cannot_be_right_is_refused_before_a_worker_is_started(
    tmp_path: Path, topic: str, payload: bytes, name: str
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.service._received(topic, payload)
        noticed = bench.service._events.get_nowait()
        assert isinstance(noticed, events.Noticed)
        assert noticed.error.name == name
        assert not bench.service._offers.pending

    play(scenario)


def test_messages_for_others_are_not_even_looked_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        for topic in (topics.desired("acme", device_id("acme", "b2")), topics.up("acme", DEVICE)):
            bench.service._received(topic, b"x")
        assert bench.service._events.empty()
        assert not bench.service._offers.pending

    play(scenario)


def test_the_same_desired_is_checked_once_and_again_after_it_was_cleared(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        checking = asyncio.create_task(bench.service._offers.run())
        message = bench.signed(1)
        bench.service._received(DESIRED, message)
        assert isinstance(await bench.next(), events.Wanted)
        bench.service._received(DESIRED, message)
        await asyncio.sleep(0.1)
        assert bench.service._events.empty()
        bench.service._received(DESIRED, b"")
        bench.service._received(DESIRED, message)
        assert [type(await bench.next()) for _ in range(2)] == [events.Cleared, events.Wanted]
        checking.cancel()

    play(scenario)


def test_a_desired_that_is_cleared_before_it_was_checked_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.service._received(DESIRED, bench.signed(1))
        bench.service._received(DESIRED, b"")
        checking = asyncio.create_task(bench.service._offers.run())
        assert isinstance(await bench.next(), events.Cleared)
        await asyncio.sleep(0.1)
        assert bench.service._events.empty()
        checking.cancel()

    play(scenario)


def test_a_clock_that_runs_backwards_is_told_whoever_looks_at_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CLOCK_EVERY", 0.0)

    async def scenario() -> None:
        bench = Bench(tmp_path)
        now = bench.service._time.now()
        monkeypatch.setattr(bench.service._clock, "wall", lambda: now - 5000)
        assert bench.service._time.now() == now  # a report that is made in between
        watching = asyncio.create_task(bench.service._watch())
        noticed = await bench.next()
        assert isinstance(noticed, events.Noticed)
        assert noticed.error.name == "ClockJumped"
        assert "5000 s" in str(noticed.error)
        await asyncio.sleep(1.2)
        assert bench.service._events.empty(), "it is told once"
        watching.cancel()

    play(scenario)


def test_the_state_is_saved_as_soon_as_the_full_disk_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "SAVE_WAIT", 0.01)

    async def scenario() -> None:
        bench = Bench(tmp_path)
        save, left = bench.service._journal.save, 3

        def full() -> None:
            nonlocal left
            if left:
                left -= 1
                raise DiskFullError("journal.json: No space left on device")
            save()

        monkeypatch.setattr(bench.service._journal, "save", full)
        await record.persist(bench.service._save)
        assert (tmp_path / "state" / "journal.json").exists()

    play(scenario)


def test_a_report_says_which_decoders_of_deltas_the_board_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = set()

    async def scenario() -> None:
        for number, names in enumerate(([], [switch.VARIABLE], [mixing.VARIABLE], [switch.VARIABLE, mixing.VARIABLE])):
            (place := tmp_path / str(number)).mkdir()
            with monkeypatch.context() as patch:
                for variable in (switch.VARIABLE, mixing.VARIABLE):
                    patch.delenv(variable, raising=False)
                for variable in names:
                    patch.setenv(variable, "1")
                patch.setattr(edgesync.delta, "__path__", [*edgesync.delta.__path__, str(tmp_path)])
                report = Bench(place).service._compose()
            assert Reported.from_dict(report.to_dict()) == report
            told.add((report.plain, report.mixing))

    (tmp_path / "_mixing.py").touch()
    play(scenario)
    assert told == {(False, True), (True, True), (False, False), (True, False)}
