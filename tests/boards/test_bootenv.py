"""The boot rules as properties: whatever an agent does and wherever the power goes, the board boots a whole image."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgesync.boards import bootenv
from edgesync.boards.bootenv import BootEnv, BootRecord
from edgesync.boards.bootloader import boot
from edgesync.boards.files import FilesBackend
from edgesync.wire.errors import EdgesyncError, StorageError

TRIES = 3


class Life(RuleBasedStateMachine):
    """An agent and a power switch. `whole` knows which slots hold an image that was written to its end."""

    @initialize()
    def factory(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="edgesync-life-"))
        (self.root / "a").mkdir()
        (self.root / "a" / "root.img").write_bytes(b"factory")
        self.whole = {"a": True, "b": False}
        self.unmarked = 0
        self.boots = 0
        self.board = FilesBackend(self.root, TRIES)
        self.power_on()

    def teardown(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def power_on(self) -> None:
        self.boots += 1
        record = boot(self.root, f"boot-{self.boots}", lambda *_, **__: None)
        assert record is not None, "the board is bricked"
        assert self.whole[record.slot], f"slot {record.slot} was booted half-written"
        self.unmarked = self.unmarked + 1 if record.trial else 0
        assert self.unmarked <= TRIES

    def other(self) -> str:
        return self.board.evidence().other

    def in_trial(self) -> bool:
        return self.board.evidence().trial

    @rule()
    def power_cut(self) -> None:
        self.power_on()

    @precondition(lambda self: not self.in_trial())
    @rule(size=st.integers(1, 5000), to_the_end=st.booleans())
    def write(self, size: int, *, to_the_end: bool) -> None:
        self.whole[self.other()] = False
        fd = self.board.prepare("root", size)
        os.close(fd)
        self.whole[self.other()] = to_the_end

    @precondition(lambda self: not self.in_trial() and self.whole[self.other()])
    @rule()
    def activate(self) -> None:
        self.board.activate()
        self.board.activate()
        self.unmarked = 0

    @rule()
    def mark_good(self) -> None:
        self.board.mark_good()
        self.board.mark_good()
        assert not self.in_trial()

    @rule()
    def reboot(self) -> None:
        before = self.board.evidence()
        self.board.reboot()
        self.power_on()
        if before.trial:
            assert self.board.evidence().slot == before.other
            assert self.board.evidence().fell_back == before.slot

    @precondition(lambda self: self.in_trial())
    @rule(size=st.integers(0, 10))
    def write_to_the_fallback(self, size: int) -> None:
        for attempt in (lambda: self.board.prepare("root", size), self.board.activate):
            with pytest.raises(StorageError, match="mark the booted slot good first"):
                attempt()

    @invariant()
    def the_primary_slot_is_whole(self) -> None:
        assert self.whole[bootenv.read_env(self.root).primary]


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLife = Life.TestCase


def test_a_healthy_slot_does_not_drain_however_often_it_boots_unmarked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "root.img").write_bytes(b"x")
    records = [boot(tmp_path, f"boot-{number}", lambda *_, **__: None) for number in range(50)]
    assert all(record and record.slot == "a" and not record.trial for record in records)


@pytest.mark.parametrize(
    "operation", ["prepare", "activate", "mark_good", "reboot"], ids="a failing {} changes nothing halfway".format
)
def test_after_any_failed_write_the_environment_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    from edgesync.host import files as host_files

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "root.img").write_bytes(b"x")
    boot(tmp_path, "boot-1", lambda *_, **__: None)
    board = FilesBackend(tmp_path, TRIES)
    if operation == "mark_good":
        bootenv.write_record(tmp_path, BootRecord("boot-1", "b", trial=True))
    old, new = {
        "prepare": (BootEnv("a", "b", 2), BootEnv("a")),
        "activate": (BootEnv("a", fell_back="b"), BootEnv("a", "b", TRIES)),
        "mark_good": (BootEnv("a", "b", 1), BootEnv("b")),
        "reboot": (BootEnv("a"), BootEnv("a")),
    }[operation]
    calls = {
        "prepare": lambda: os.close(board.prepare("root", 100)),
        "activate": board.activate,
        "mark_good": board.mark_good,
        "reboot": board.reboot,
    }
    failures = 0
    for nth in range(1, 40):
        bootenv.write_env(tmp_path, old)
        count = 0

        def counted(real, nth=nth):
            def call(*args, **options):
                nonlocal count
                count += 1
                if count == nth:
                    raise OSError(5, "Input/output error")
                return real(*args, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("open", "write", "fsync", "replace"):
                patch.setattr(host_files.os, name, counted(getattr(os, name)))
            try:
                calls[operation]()
            except StorageError:
                failures += 1
            else:
                break
        assert bootenv.read_env(tmp_path) in (old, new)
    else:
        pytest.fail("it never came through")
    assert bootenv.read_env(tmp_path) == new
    assert failures > 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{" * 2000,
        b'{"format": 1}',
        b'{"format": 2, "primary": "a", "trying": "", "left": 0, "fell_back": ""}',
        b'{"format": 1, "primary": "c", "trying": "", "left": 0, "fell_back": ""}',
        b'{"format": 1, "primary": "a", "trying": "a", "left": 1, "fell_back": ""}',
        b'{"format": 1, "primary": "a", "trying": "", "left": true, "fell_back": ""}',
        b'{"format": 1, "primary": "a", "trying": "", "left": 0, "fell_back": "", "more": 1}',
        b" " * 5000,
    ],
)
def test_a_boot_environment_that_nobody_can_have_written_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "try.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"try\.json"):
        bootenv.read_env(tmp_path)


def test_a_board_that_was_never_booted_says_how_to_boot_it(tmp_path: Path) -> None:
    with pytest.raises(EdgesyncError, match="edgesync board run"):
        FilesBackend(tmp_path, TRIES).evidence()


def test_the_boot_record_survives_being_written_and_read(tmp_path: Path) -> None:
    record = BootRecord("4c1e", "b", True, "a")
    bootenv.write_record(tmp_path, record)
    assert bootenv.read_record(tmp_path) == record
