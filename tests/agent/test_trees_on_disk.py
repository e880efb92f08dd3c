"""Trees on a real disk: switched at once, cut off at each call, with no room, and with tricks in the bundle and in its
way.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_parts import Disk, made

from edgesync.agent.tree import bundles as bundles_module
from edgesync.agent.tree import trees as trees_module
from edgesync.agent.tree.trees import GRACE
from edgesync.wire.bundle import path_problem
from edgesync.wire.errors import (
    BaseModifiedError,
    DiskFullError,
    EdgesyncError,
    MalformedMessageError,
    StorageError,
    UnknownFormatError,
)

ONE = {"app/main.conf": (b"speed = 1\n", 0o644), "app/run": (b"#!/bin/sh\n", 0o755), "key": (b"secret", 0o600)}
TWO = {"app/main.conf": (b"speed = 2\n", 0o644), "network/eth0.conf": (b"", 0o640)}
CALLS = ("open", "write", "fsync", "close", "replace", "rename", "mkdir", "fchmod", "symlink", "readlink", "pread")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "config")


def test_a_tree_is_what_its_bundle_says_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        disk = Disk(tmp_path / "config")
        digest = disk.install(made(ONE))
    finally:
        os.umask(before)
    assert disk.read() == ONE
    assert disk.trees.linked() == digest
    assert disk.differences(digest) == []
    for directory in (disk.root, disk.root / "trees", disk.root / "current" / "app", disk.root / "current"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755, "applications that are not root read here"
    assert stat.S_IMODE((disk.root / "bundles").stat().st_mode) == 0o700


def test_going_from_tree_to_tree_and_back_leaves_nothing_of_the_other(disk: Disk) -> None:
    one = disk.install(made(ONE))
    disk.install(made(TWO))
    assert disk.read() == TWO
    disk.trees.switch(disk.write(one))
    assert disk.read() == ONE
    disk.trees.prune((one,), now=0.0)
    assert disk.trees.sweep(GRACE) is None
    disk.bundles.prune((one,))
    assert os.listdir(disk.root / "trees") == [one]
    assert disk.bundles.whole() == (one,)
    disk.trees.unlink()
    assert disk.trees.linked() == ""


def test_who_has_a_tree_open_reads_it_to_its_end_though_nobody_needs_it_any_more(disk: Disk) -> None:
    failed = disk.install(made(ONE))
    fd = os.open(disk.root / "current", os.O_RDONLY | os.O_DIRECTORY)
    try:
        two = disk.install(made(TWO))
        disk.trees.prune((two,), now=100.0)
        assert disk.trees.sweep(100.0) == GRACE
        disk.trees.prune((two,), now=130.0)
        assert disk.trees.sweep(130.0) == GRACE - 30.0, "it was left once"
        with open(os.open("app/main.conf", os.O_RDONLY, dir_fd=fd), "rb") as file:
            assert file.read() == b"speed = 1\n"
    finally:
        os.close(fd)
    assert disk.trees.sweep(100.0 + GRACE) is None
    assert failed not in os.listdir(disk.root / "trees")
    assert disk.read() == TWO


@pytest.mark.parametrize("again", ["written", "switched to"])
def test_a_tree_that_comes_in_force_again_does_not_go(disk: Disk, again: str) -> None:
    one = disk.install(made(ONE))
    disk.install(made(TWO))
    disk.trees.prune((), now=0.0)
    disk.trees.switch(disk.write(one) if again == "written" else disk.trees.standing(one))
    disk.install(made(TWO))
    disk.trees.sweep(GRACE)
    assert one in os.listdir(disk.root / "trees")


@settings(max_examples=25)  # each writes to a real disk and waits for it
@given(
    st.dictionaries(
        st.text("ab/.é ", min_size=1, max_size=8).filter(lambda path: not path_problem(path)),
        st.tuples(st.binary(max_size=100), st.integers(0o400, 0o777).filter(lambda mode: mode & 0o400)),
        max_size=6,
    )
)
def test_any_files_come_out_as_they_went_in_or_are_malformed(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, tuple[bytes, int]]
) -> None:
    disk = Disk(tmp_path_factory.mktemp("board"))
    try:
        data = made(files)
    except MalformedMessageError:
        return  # a file where another needs a directory
    digest = disk.install(data)
    assert disk.read() == files
    assert disk.differences(digest) == []


# --- cut off -------------------------------------------------------------------------------------------------------


def failing_nth(call: str, nth: int, code: int) -> Callable[[pytest.MonkeyPatch], list[int]]:
    def install(broken: pytest.MonkeyPatch) -> list[int]:
        real, count = getattr(os, call), [0]

        def failing(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == nth:
                if call == "close":
                    real(*args)  # it is closed even where it says that it failed
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        broken.setattr(os, call, failing)
        return count

    return install


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", CALLS)
def test_a_switch_that_fails_at_any_call_leaves_the_tree_before_or_the_new_one_and_the_next_try_succeeds(
    tmp_path: Path, call: str, code: int
) -> None:
    nth, reached = 0, True
    while reached:
        nth += 1
        disk = Disk(tmp_path / str(nth))
        one, two = disk.install(made(ONE)), disk.keep(made(TWO))
        failed: EdgesyncError | None = None
        with pytest.MonkeyPatch.context() as broken:
            count = failing_nth(call, nth, code)(broken)
            try:
                disk.trees.switch(disk.write(two))
            except EdgesyncError as error:
                failed = error
            reached = count[0] >= nth
        seen = disk.read()
        assert seen in (ONE, TWO), "never a mixture"
        if failed is None:
            assert seen == TWO or call == "readlink"
        elif not isinstance(failed, BaseModifiedError):
            assert isinstance(failed, DiskFullError | StorageError)
        again = Disk(tmp_path / str(nth))
        assert again.trees.linked() in (one, two)
        again.trees.switch(again.write(two))
        assert again.read() == TWO
        assert again.differences(two) == []
        shutil.rmtree(tmp_path / str(nth))
    assert nth > 1, f"{call} is called"


CHILD = """
import os, sys, time
sys.path[:0] = [{here!r}]
from pathlib import Path
from tree_parts import Disk, made
disk = Disk(Path({root!r}))
print("ready", flush=True)
number = 0
while True:
    number += 1
    disk.install(made({{f"app/{{n}}": f"{{number}}\\n".encode() * 40 for n in range(12)}}))
    disk.trees.prune((disk.trees.linked(),), time.monotonic())
    disk.trees.sweep(time.monotonic())
    disk.bundles.prune((disk.trees.linked(),))
"""


def switcher(root: Path) -> subprocess.Popen[bytes]:
    """A process that switches from tree to tree as fast as it can."""
    code = CHILD.format(here=str(Path(__file__).parent), root=str(root))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    return child


def reading(current: Path) -> set[bytes]:
    """The contents of all files as one reader sees them: it opens `current` once, as a directory."""
    fd = os.open(current, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = set()
        for number in range(12):
            with open(os.open(f"app/{number}", os.O_RDONLY, dir_fd=fd), "rb") as file:
                found.add(file.read())
        return found
    finally:
        os.close(fd)


def test_a_reader_sees_one_tree_or_the_other_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    seen, root = set(), tmp_path / "config"
    for _ in range(6):
        child = switcher(root)
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            try:
                contents = reading(root / "current")
            except FileNotFoundError:
                assert not seen, "only before the first switch is there nothing to read"
                continue
            assert len(contents) == 1, "a mixture"
            seen |= contents
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        if child.stdout:
            child.stdout.close()
        assert len(reading(root / "current")) == 1
        disk = Disk(root)
        linked = disk.trees.linked()
        assert linked in disk.bundles.whole()
        assert linked
        assert disk.differences(linked) == []
    assert len(seen) > 10, "it did switch"


# --- no room -------------------------------------------------------------------------------------------------------


def test_a_tree_for_which_there_is_no_room_is_not_begun(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.install(made(ONE))
    two = disk.keep(made({f"app/{n}": b"x" * 5000 for n in range(20)}))
    monkeypatch.setattr(trees_module, "free_bytes", lambda _: bundles_module.RESERVE + 20 * 8192)
    with pytest.raises(DiskFullError, match="needs 172032 bytes, 163840 are free"):
        disk.write(two)
    assert disk.read() == ONE
    assert "new" not in os.listdir(disk.root / "trees")
    monkeypatch.setattr(bundles_module, "free_bytes", lambda _: bundles_module.RESERVE + 10)
    with pytest.raises(DiskFullError, match="needs 11 bytes, 10 are free"):
        disk.bundles.begin(two, 11)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_file_system_that_fills_up_in_the_middle_leaves_the_running_config_alone(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], check=True)
    try:
        disk = Disk(place / "config")
        disk.install(made(ONE))
        two = disk.keep(made({f"app/{n}": b"x" * 60_000 for n in range(16)}))
        (place / "filler").write_bytes(b"x" * (1400 << 10))
        with pytest.MonkeyPatch.context() as hopeful:
            hopeful.setattr(trees_module, "free_bytes", lambda _: 1 << 30)
            with pytest.raises(DiskFullError):
                disk.write(two)
        assert disk.read() == ONE
        assert os.listdir(place / "config" / "trees") == [disk.trees.linked()], "the half of a tree gave its room back"
        (place / "filler").unlink()
        disk.trees.switch(disk.write(two))
        assert len(disk.read()) == 16
    finally:
        subprocess.run(["umount", str(place)], check=True)


# --- hostile bundles -----------------------------------------------------------------------------------------------


def raw(rows: list[list[Any]], content: bytes = b"") -> bytes:
    plain = {"check": [], "drift": "heal", "probe": [], "probe_seconds": 0, "reload": []}
    header = json.dumps({"files": rows, "settings": plain}, separators=(",", ":"), sort_keys=True).encode()
    return struct.pack("<4sI", b"esc1", len(header)) + header + content


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (raw([["../escaped", 0o644, 1]], b"x"), MalformedMessageError),
        (raw([["/etc/escaped", 0o644, 1]], b"x"), MalformedMessageError),
        (raw([["a/../../escaped", 0o644, 1]], b"x"), MalformedMessageError),
        (raw([["a", 0o644, 1], ["a", 0o644, 1]], b"xy"), MalformedMessageError),
        (raw([["a", 0o644, 1], ["a/b", 0o644, 1]], b"xy"), MalformedMessageError),
        (raw([["b", 0o644, 1], ["a", 0o644, 1]], b"xy"), MalformedMessageError),
        (raw([["a", 0o4755, 1]], b"x"), MalformedMessageError),
        (raw([["a", 0o044, 1]], b"x"), MalformedMessageError),
        (raw([["a", 0o644, 2]], b"x"), MalformedMessageError),
        (raw([["a", 0o644, 1]], b"xy"), MalformedMessageError),
        (raw([["a\0b", 0o644, 1]], b"x"), MalformedMessageError),
        (b"esc1\xff\xff\xff\xff{}", MalformedMessageError),
        (b"esc1", MalformedMessageError),
        (b"", MalformedMessageError),
        (b"esc2" + raw([])[4:], UnknownFormatError),
    ],
)
def test_a_hostile_bundle_is_a_named_error_and_writes_nothing(disk: Disk, data: bytes, error: type[Exception]) -> None:
    disk.install(made(ONE))
    digest = disk.keep(data)
    with pytest.raises(error):
        disk.write(digest)
    assert disk.read() == ONE
    assert not list(disk.root.parent.rglob("*escaped*"))


def test_a_bundle_of_another_digest_is_no_bundle(disk: Disk) -> None:
    one = disk.install(made(ONE))
    path = disk.root / "bundles" / one
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(BaseModifiedError, match="do not have the digest"):
        disk.bundles.catalogue(one)
    assert disk.bundles.whole() == ()
    assert disk.trees.linked() == one, "the running config is untouched"


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EINVAL, errno.ENAMETOOLONG])
def test_paths_that_a_file_system_cannot_hold_are_told_as_the_bundles_fault(
    disk: Disk, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = disk.keep(made({"App": b"1", "app": b"2"}))
    real = os.open

    def folding(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path == "app" and flags & os.O_EXCL:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", folding)
    with pytest.raises(MalformedMessageError, match="cannot hold 'app'"):
        disk.write(two)


# --- tricks in the way ---------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory with something precious, which must be as it was at the end."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "main.conf").write_bytes(b"precious")
    yield place
    assert os.listdir(place) == ["main.conf"]
    assert (place / "main.conf").read_bytes() == b"precious"


@pytest.mark.parametrize("where", ["trees/new", "trees/{digest}", "trees/new/app", "trees/{digest}/app"])
def test_a_link_in_the_place_of_a_tree_leads_nowhere(disk: Disk, outside: Path, where: str) -> None:
    one = disk.keep(made(ONE))
    path = disk.root / where.format(digest=one)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside)
    disk.trees.switch(disk.write(one))
    assert disk.read() == ONE
    assert disk.differences(one) == []


def test_trees_that_wait_for_readers_go_at_once_where_their_room_is_needed(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [disk.install(made({"app/main.conf": b"%d" % number})) for number in range(3)]
    one = disk.install(made(ONE))
    for now, name in enumerate(left):
        disk.trees.leave(name, now)
    room = {3: 0, 2: 0, 1: 1 << 20}  # trees that are left: bytes that are free
    monkeypatch.setattr(
        trees_module,
        "free_bytes",
        lambda place: bundles_module.RESERVE + room[len(os.listdir(place)) - 1],
    )
    two = disk.write(disk.keep(made(TWO)))
    assert sorted(os.listdir(disk.root / "trees")) == sorted([left[2], one, two]), "the oldest went first"


@pytest.mark.parametrize("path", ["app", "app/main.conf", "key"])
def test_a_link_in_the_tree_in_force_is_drift_and_healing_does_not_follow_it(
    disk: Disk, outside: Path, path: str
) -> None:
    one = disk.install(made(ONE))
    place = disk.root / "current" / path
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(outside if path == "app" else outside / "main.conf")
    assert disk.differences(one) == [path]
    name = disk.write(one)
    disk.trees.switch(name)
    disk.trees.prune((one,), now=0.0)
    disk.trees.sweep(GRACE)
    assert disk.read() == ONE
    assert disk.differences(one) == []


@pytest.mark.parametrize("what", ["directory", "file"])
def test_something_else_in_the_place_of_the_link_is_a_named_error(disk: Disk, what: str) -> None:
    one = disk.keep(made(ONE))
    place = disk.root / "current"
    place.mkdir() if what == "directory" else place.write_bytes(b"mine")
    name = disk.write(one)
    with pytest.raises(StorageError, match="no link; move it away"):
        disk.trees.switch(name)
    assert disk.trees.linked() == ""
    assert place.exists(), "it is not ours to remove"


@pytest.mark.parametrize("target", ["/etc", "trees/../../outside", "trees", "elsewhere/x", "trees/" + "f" * 64])
def test_a_link_that_is_not_ours_is_no_config_and_is_replaced(disk: Disk, outside: Path, target: str) -> None:
    (disk.root / "current").symlink_to(target)
    assert disk.trees.linked() == ""
    disk.install(made(ONE))
    assert disk.read() == ONE


# --- drift ---------------------------------------------------------------------------------------------------------


def touched(tree: Path, what: str) -> None:
    conf = tree / "app" / "main.conf"
    match what:
        case "content":
            conf.write_bytes(b"speed = 9\n")
        case "longer":
            conf.write_bytes(b"speed = 1\n\n")
        case "mode":
            conf.chmod(0o600)
        case "missing":
            conf.unlink()
        case "fifo":
            conf.unlink()
            os.mkfifo(conf)
        case "directory":
            conf.unlink()
            conf.mkdir()


@pytest.mark.parametrize("what", ["content", "longer", "mode", "missing", "fifo", "directory"])
def test_whatever_someone_does_to_a_file_is_found_and_undone_beside(disk: Disk, what: str) -> None:
    one = disk.install(made(ONE))
    touched((disk.root / "current").resolve(), what)
    assert disk.differences(one) == ["app/main.conf"]
    wrong = disk.trees.standing(one)
    name = disk.write(one)
    assert name != wrong
    assert disk.differences(one) == ["app/main.conf"], "the tree in force is not written to"
    disk.trees.switch(name)
    assert disk.read() == ONE
    disk.trees.leave(wrong, now=0.0)
    disk.trees.sweep(GRACE)
    assert os.listdir(disk.root / "trees") == [name]
    touched((disk.root / "current").resolve(), what)
    disk.trees.switch(disk.write(one))
    assert disk.read() == ONE


def test_what_was_put_into_a_tree_is_drift_and_gone_when_it_is_healed(disk: Disk) -> None:
    one = disk.install(made(ONE))
    tree = (disk.root / "current").resolve()
    (tree / "app" / "backup~").write_bytes(b"x")
    (tree / "logs").mkdir()
    (tree / "logs" / "1").write_bytes(b"x")
    assert disk.differences(one) == ["logs", "app/backup~"]
    disk.trees.switch(disk.write(one))
    assert disk.read() == ONE


def test_a_directory_that_lets_others_write_is_drift(disk: Disk) -> None:
    one = disk.install(made(ONE))
    (disk.root / "current" / "app").chmod(0o777)
    assert disk.differences(one) == ["app"]


def test_a_half_written_tree_of_a_life_before_is_no_tree(disk: Disk) -> None:
    one = disk.keep(made(ONE))
    half = disk.root / "trees" / one / "app"
    half.mkdir(parents=True)
    (half / "main.conf").write_bytes(b"spe")
    disk.trees.switch(disk.write(one))
    assert disk.read() == ONE
