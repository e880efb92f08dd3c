"""Slots as directories: what is prepared has its room, and nothing outside of the slots can be reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.boards import files
from edgesync.boards.backend import BootBackend
from edgesync.boards.bootenv import BootEnv, read_env, write_env
from edgesync.boards.bootloader import boot
from edgesync.boards.files import FilesBackend
from edgesync.wire.errors import DiskFullError, StorageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "root.img").write_bytes(b"old image")
    boot(tmp_path, "boot-1", lambda *_, **__: None)
    return tmp_path


@pytest.fixture
def board(root: Path) -> FilesBackend:
    return FilesBackend(root, 3)


def test_it_is_the_backend_that_the_agent_expects(board: FilesBackend) -> None:
    backend: BootBackend = board
    evidence = backend.evidence()
    assert (evidence.boot_id, evidence.slot, evidence.other) == ("boot-1", "a", "b")
    assert not evidence.trial
    assert backend.components("a") == {"root": 9}
    assert backend.components("b") == {}


def test_what_is_prepared_has_its_blocks_and_can_be_read_and_written(board: FilesBackend, root: Path) -> None:
    fd = board.prepare("root", 300_000)
    try:
        assert os.fstat(fd).st_size == 300_000
        assert os.fstat(fd).st_blocks * 512 >= 300_000
        os.pwrite(fd, b"new", 0)
        assert os.pread(fd, 3, 0) == b"new"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
    assert board.components("b") == {"root": 300_000}
    assert (root / "a" / "root.img").read_bytes() == b"old image"


@given(first=st.integers(0, 20_000), second=st.integers(0, 20_000))
def test_preparing_again_keeps_what_fits_of_what_was_written(tmp_path_factory, first: int, second: int) -> None:
    root = tmp_path_factory.mktemp("again")
    (root / "a").mkdir()
    (root / "a" / "root.img").write_bytes(b"x")
    boot(root, "boot-1", lambda *_, **__: None)
    board = FilesBackend(root, 3)
    fd = board.prepare("root", first)
    os.pwrite(fd, b"w" * first, 0)
    os.close(fd)
    fd = board.prepare("root", second)
    kept = min(first, second)
    assert os.pread(fd, second + 1, 0) == b"w" * kept + bytes(second - kept)
    os.close(fd)


def test_tries_are_taken_away_before_the_image_is_opened(
    board: FilesBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(board.prepare("root", 10))
    board.activate()
    assert read_env(root) == BootEnv("a", "b", 3)
    at_open = []
    real = os.open

    def watched(path, flags, *mode, **options):
        if str(path).endswith("root.img"):
            at_open.append(read_env(root))
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(files.os, "open", watched)
    os.close(board.prepare("root", 10))
    assert at_open == [BootEnv("a")]


def test_a_full_disk_is_told_with_numbers_before_anything_is_written(
    board: FilesBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskFullError, match="200000 bytes need 200000 more, 1000 are free"):
        board.prepare("root", 200_000)
    assert (root / "b" / "root.img").stat().st_size == 0


def test_blocks_that_the_image_has_already_need_no_free_space(
    board: FilesBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(board.prepare("root", 200_000))
    monkeypatch.setattr(files, "free_bytes", lambda path: 0)
    os.close(board.prepare("root", 200_000))


def test_a_disk_that_fills_while_room_is_made_leaks_no_descriptor(
    board: FilesBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "posix_fallocate", full)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DiskFullError, match=r"b/root\.img: No space left"):
        board.prepare("root", 200_000)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("component", ["../a/root", "", ".", "Root", "x/y", "-x", "a\0b"])
def test_a_component_cannot_name_a_path(board: FilesBackend, component: str) -> None:
    for call in (lambda: board.prepare(component, 1), lambda: board.open_component("a", component)):
        with pytest.raises(StorageError, match="component: found"):
            call()


@pytest.mark.parametrize("slot", ["", "c", "..", "a/../b"])
def test_a_slot_is_a_or_b(board: FilesBackend, slot: str) -> None:
    with pytest.raises(StorageError, match="slot: found"):
        board.components(slot)


def test_a_link_in_the_slot_is_not_followed(board: FilesBackend, root: Path) -> None:
    precious = root / "precious"
    precious.write_bytes(b"precious")
    (root / "b").mkdir()
    (root / "b" / "root.img").symlink_to(precious)
    with pytest.raises(StorageError):
        board.prepare("root", 100)
    assert precious.read_bytes() == b"precious"
    assert board.components("b") == {}


def test_a_missing_component_is_a_named_error(board: FilesBackend) -> None:
    with pytest.raises(StorageError, match=r"b/root\.img: No such file"):
        board.open_component("b", "root")


def test_a_reboot_is_asked_for_in_this_boot_only(board: FilesBackend, root: Path) -> None:
    board.reboot()
    assert files.reboot_requested(root, "boot-1")
    boot(root, "boot-2", lambda *_, **__: None)
    assert not files.reboot_requested(root, "boot-2")


def test_marking_the_running_slot_does_not_take_back_an_activation(board: FilesBackend, root: Path) -> None:
    os.close(board.prepare("root", 10))
    board.activate()
    board.mark_good()
    assert read_env(root).next_boot() == (BootEnv("a", "b", 2), "b", True)


def test_a_fallback_is_remembered_over_power_cuts_until_the_slot_is_used_again(board: FilesBackend, root: Path) -> None:
    write_env(root, BootEnv("a", "b", 0))
    for number in range(3):
        boot(root, f"boot-{number}", lambda *_, **__: None)
        assert board.evidence().fell_back == "b"
        board.mark_good()
    os.close(board.prepare("root", 10))
    boot(root, "boot-9", lambda *_, **__: None)
    assert board.evidence().fell_back == ""
