"""Files that are whole or not there, whatever call of the write fails."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesync.host import files
from edgesync.wire.errors import DiskFullError, EdgesyncError, StorageError

CALLS = ("open", "write", "fsync", "close", "replace")
OLD, NEW = b"the old content", b"the new content, which is longer"


def fail(monkeypatch: pytest.MonkeyPatch, call: str, nth: int, code: int) -> None:
    """Let the nth call of a function of `os` fail."""
    real, count = getattr(os, call), [0]

    def failing(*args: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == nth:
            if call == "close":
                real(*args)  # it is closed even where it says that it failed
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    monkeypatch.setattr(os, call, failing)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("call", CALLS)
def test_a_write_that_fails_anywhere_leaves_the_old_content_or_the_new_and_the_next_one_succeeds(
    tmp_path: Path, call: str, nth: int, code: int
) -> None:
    path = tmp_path / "file"
    files.write_atomic(str(path), OLD)
    with pytest.MonkeyPatch.context() as broken:
        fail(broken, call, nth, code)
        failed: EdgesyncError | None = None
        try:
            files.write_atomic(str(path), NEW)
        except EdgesyncError as error:
            failed = error
    if failed:
        assert type(failed) is (DiskFullError if code in (errno.ENOSPC, errno.EDQUOT) else StorageError)
        assert str(path) in str(failed)
        # Behind the rename only the directory is left to be synced.
        assert path.read_bytes() == (OLD if nth == 1 else NEW)
    else:
        assert path.read_bytes() == NEW
        assert nth == 2
    files.write_atomic(str(path), NEW)
    assert path.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_the_kernel_takes_byte_by_byte_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:1]))
    files.write_atomic(str(tmp_path / "file"), NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_content_is_on_the_disk_before_the_name_points_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for call in ("write", "fsync", "replace"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda *args, real=real, call=call: (order.append(call), real(*args))[1])
    files.write_atomic(str(tmp_path / "file"), NEW)
    assert order == ["write", "fsync", "replace", "fsync"]


def test_a_failed_write_leaks_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for call in ("write", "fsync", "replace"):
        with pytest.MonkeyPatch.context() as broken:
            fail(broken, call, 1, errno.EIO)
            with pytest.raises(StorageError):
                files.write_atomic(str(tmp_path / "file"), NEW)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_empty_file_and_the_mode_are_written(tmp_path: Path) -> None:
    files.write_atomic(str(tmp_path / "file"), b"", 0o600)
    assert (tmp_path / "file").read_bytes() == b""
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_relative_path_is_written_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_atomic("file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


WRITER = """\
import itertools, sys
from edgesync.host.files import write_atomic
for number in itertools.count():
    write_atomic(sys.argv[1], b"%d" % (number % 10) * 100_000)
    print(flush=True)
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for wait in (0.0, 0.003, 0.007, 0.013):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.readline()
            time.sleep(wait)
            child.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 100_000
        assert len(set(content)) == 1


@pytest.fixture
def small_files() -> Iterator[int]:
    """The kernel refuses to write more than so many bytes into one file."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_kernel_that_refuses_the_rest_is_a_full_disk_and_the_old_content_stays(
    tmp_path: Path, small_files: int
) -> None:
    path = str(tmp_path / "file")
    files.write_atomic(path, OLD)
    with pytest.raises(DiskFullError, match="file"):
        files.write_atomic(path, bytes(small_files + 1))
    assert Path(path).read_bytes() == OLD


@pytest.mark.parametrize("size", [0, 9, 10])
def test_a_file_up_to_the_limit_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    assert files.read_limited(str(tmp_path / "file"), 10) == b"x" * size


def test_a_larger_file_is_refused_without_being_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StorageError, match="more than 10 bytes"):
        files.read_limited(str(tmp_path / "file"), 10)


@pytest.mark.parametrize("name", ["missing", "directory", "under/missing"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(StorageError, match=name):
        files.read_limited(str(tmp_path / name), 10)


def test_free_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    assert 0 <= files.free_bytes(str(tmp_path)) <= status.f_blocks * status.f_frsize
    with pytest.raises(StorageError, match="missing"):
        files.free_bytes(str(tmp_path / "missing"))
