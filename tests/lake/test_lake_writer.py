"""What is acknowledged is in the lake, once, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_parts import HOUR, Clock, metrics, numbers, values

from collector_ext.lake import files, parquet, wal
from collector_ext.lake.compact import Retention, compact, expire
from collector_ext.lake.reader import Lake
from collector_ext.lake.schema import METRICS, TABLES
from collector_ext.lake.writer import PATIENCE, LakeWriter
from edgesync.wire.errors import ConfigError, DiskFullError, EdgesyncError, MessageTooLargeError, StorageError


def data_files(directory: Path) -> list[str]:
    return [file.path.name for file in files.found(directory, "metrics")]


def test_rows_are_in_the_log_at_once_and_in_a_file_when_they_have_waited_long_enough(tmp_path: Path) -> None:
    clock = Clock()
    writer = LakeWriter(tmp_path, clock, age=60)
    writer.write({"metrics": [metrics([1, 2, 3])]})
    writer.flush_due()
    assert data_files(tmp_path) == []
    assert len(list((tmp_path / "wal").iterdir())) == 1
    clock.now += 60
    writer.flush_due()
    assert data_files(tmp_path) == ["a-000000000001.parquet"]
    assert list((tmp_path / "wal").iterdir()) == []
    assert values(tmp_path) == [1, 2, 3]
    writer.close()


def test_many_rows_do_not_wait(tmp_path: Path) -> None:
    writer = LakeWriter(tmp_path, Clock(), rows=5)
    for number in range(4):
        writer.write({"metrics": [metrics([number, number])]})
        writer.flush_due()
    assert len(data_files(tmp_path)) == 1
    writer.close()
    assert len(values(tmp_path)) == 8


def test_what_only_the_log_holds_becomes_a_file_at_the_next_start(tmp_path: Path) -> None:
    first = LakeWriter(tmp_path, Clock())
    first.write({"metrics": [metrics([1, 2]), metrics([3])], "logs": []})
    os.close(first._lock)  # as a kill does
    second = LakeWriter(tmp_path, Clock())
    assert values(tmp_path) == [1, 2, 3]
    assert list((tmp_path / "wal").iterdir()) == []
    second.close()


def test_a_log_whose_file_is_there_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LakeWriter(tmp_path, Clock())
    first.write({"metrics": [metrics([1, 2])]})
    with monkeypatch.context() as patch:
        patch.setattr(wal.WriteAheadLog, "end", lambda _log: None)  # killed before the log was deleted
        first.flush()
    os.close(first._lock)
    LakeWriter(tmp_path, Clock()).close()
    assert values(tmp_path) == [1, 2]


@given(cut=st.integers(0, 4000), flipped=st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_a_torn_log_gives_what_is_before_the_tear_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flipped: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "metrics-000000000001.wal"
    log = wal.WriteAheadLog(path)
    sizes = []
    for number in range(3):
        log.append([metrics([number])])
        sizes.append(path.stat().st_size)
    log.close()
    data = bytearray(path.read_bytes()[: max(0, len(path.read_bytes()) - cut)])
    spoilt = len(data)
    if flipped < len(data):
        data[flipped] ^= 1
        spoilt = flipped
    path.write_bytes(data)
    found = [batch["value"][0].as_py() for batch in wal.replay(path, METRICS.schema)]
    whole = sum(size <= min(spoilt, len(data)) for size in sizes)
    assert found == [float(number) for number in range(whole)]


def test_a_full_disk_refuses_new_rows_and_keeps_every_acknowledged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LakeWriter(tmp_path, Clock(), rows=2)
    writer.write({"metrics": [metrics([1])]})
    real = os.write
    with monkeypatch.context() as patch:

        def full(fd: int, data: bytes) -> int:
            if len(data) > 100:
                real(fd, bytes(data[:100]))
                raise OSError(28, "No space left on device")
            return real(fd, data)

        patch.setattr(os, "write", full)
        with pytest.raises(DiskFullError):
            writer.write({"metrics": [metrics([2])]})
    writer.write({"metrics": [metrics([3])]})
    writer.close()
    assert values(tmp_path) == [1, 3]


def test_a_file_that_cannot_be_written_leaves_its_rows_waiting_until_too_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LakeWriter(tmp_path, Clock(), rows=2)

    def failing(*_: object) -> int:
        raise DiskFullError("full")

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write", failing)
        for number in range(PATIENCE):
            writer.write({"metrics": [metrics([number, number])]})
            with pytest.raises(DiskFullError):
                writer.flush_due()
        with pytest.raises(DiskFullError):
            writer.write({"metrics": [metrics([99])]})
    writer.flush_due()
    writer.close()
    assert values(tmp_path) == sorted(float(n) for n in range(PATIENCE) for _ in range(2))


def test_two_writers_of_one_lake_are_refused(tmp_path: Path) -> None:
    writer = LakeWriter(tmp_path, Clock())
    with pytest.raises(ConfigError, match="another process"):
        LakeWriter(tmp_path, Clock())
    writer.close()
    LakeWriter(tmp_path, Clock()).close()


def test_a_batch_that_no_log_takes_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LakeWriter(tmp_path, Clock())
    monkeypatch.setattr(wal, "RECORD_LIMIT", 100)
    with pytest.raises(MessageTooLargeError):
        writer.write({"metrics": [metrics([1])]})
    writer.close()
    assert values(tmp_path) == []


WRITING = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from lake_parts import metrics
from collector_ext.lake.compact import compact
from collector_ext.lake.writer import LakeWriter
from edgesync.host.clock import SystemClock

start = int(sys.argv[3])
writer = LakeWriter(Path(sys.argv[1]), SystemClock(), rows=7, age=0.05)
for number in range(start, start + 100_000):
    writer.write({"metrics": [metrics([number])]})
    print(number, flush=True)
    writer.flush_due()
    if number % 20 == 0:
        for _ in compact(Path(sys.argv[1]), SystemClock().wall() + 7200):
            pass
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for attempt in range(4):
        command = [sys.executable, "-c", WRITING, str(tmp_path / "lake"), str(Path(__file__).parent)]
        with subprocess.Popen([*command, str(attempt * 100_000)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            acknowledged.append(int(child.stdout.readline()))
            time.sleep(0.1 + 0.1 * attempt)
            child.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout.read().splitlines()]
    LakeWriter(tmp_path / "lake", Clock()).close()
    found = numbers(values(tmp_path / "lake"))
    assert len(found) == len(set(found)), "nothing twice"
    missing = set(acknowledged) - set(found)
    assert not missing
    unasked = set(found) - set(acknowledged)
    assert len(unasked) <= 4, "at most the one that was on its way at each kill"


# --- compaction and retention ------------------------------------------------------------------------------------


def filled(directory: Path, hours: int, clock: Clock, files_an_hour: int = 3) -> list[float]:
    writer = LakeWriter(directory, clock)
    written = []
    for hour in range(hours):
        for number in range(files_an_hour):
            value = float(10 * hour + number)
            writer.write({"metrics": [metrics([value], device=f"acme.b{9 - number}")]})
            writer.flush()
            written.append(value)
        clock.now += HOUR
    writer.close()
    return written


def test_an_hour_that_is_over_becomes_one_sorted_file(tmp_path: Path) -> None:
    clock = Clock()
    written = filled(tmp_path, 2, clock)
    done = list(compact(tmp_path, clock.now))
    assert [(d.table, d.files, d.rows) for d in done] == [("metrics", 3, 3)] * 2
    assert data_files(tmp_path) == ["c-000000000001-000000000003.parquet", "c-000000000004-000000000006.parquet"]
    assert values(tmp_path) == written
    with Lake(tmp_path) as lake:
        first = files.found(tmp_path, "metrics")[0].path
        devices = lake.rows("SELECT device FROM read_parquet($1)", [str(first)])
    assert devices == [("acme.b7",), ("acme.b8",), ("acme.b9",)]
    assert list(compact(tmp_path, clock.now)) == [], "and once is enough"


def test_a_row_that_came_twice_is_there_once_after_compaction(tmp_path: Path) -> None:
    clock = Clock()
    writer = LakeWriter(tmp_path, clock)
    for _ in range(2):
        writer.write({"metrics": [metrics([1, 2])]})
        writer.flush()
    writer.close()
    assert values(tmp_path) == [1, 1, 2, 2]
    list(compact(tmp_path, clock.now + HOUR))
    assert values(tmp_path) == [1, 2]


def test_the_hour_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    clock = Clock()
    filled(tmp_path, 1, clock)
    assert list(compact(tmp_path, clock.now - HOUR)) == []
    assert len(data_files(tmp_path)) == 3


@pytest.mark.parametrize("fails", range(1, 12))
def test_a_compaction_that_is_cut_off_anywhere_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    clock = Clock()
    written = filled(tmp_path, 1, clock)
    calls = 0

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= fails:
                raise OSError(5, "Input/output error")
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(Path.replace))
        patch.setattr(Path, "unlink", failing(Path.unlink))
        patch.setattr(os, "fsync", failing(os.fsync))
        try:
            list(compact(tmp_path, clock.now))
        except (EdgesyncError, OSError):
            pass
        else:
            assert fails > calls
    assert values(tmp_path) == written
    list(compact(tmp_path, clock.now))
    assert values(tmp_path) == written
    assert len(data_files(tmp_path)) == 1


def test_old_hours_go_by_age_and_the_oldest_first_by_size(tmp_path: Path) -> None:
    clock = Clock()
    filled(tmp_path, 4, clock)
    list(compact(tmp_path, clock.now))
    assert len(expire(tmp_path, Retention(seconds=3 * HOUR), clock.now)) == 1
    assert numbers(values(tmp_path)) == [10, 11, 12, 20, 21, 22, 30, 31, 32]
    one = files.found(tmp_path, "metrics")[0].path.stat().st_size
    assert len(expire(tmp_path, Retention(size=int(1.5 * one)), clock.now)) == 2
    assert numbers(values(tmp_path)) == [30, 31, 32]
    assert len([place for place in tmp_path.rglob("*") if place.is_dir()]) == 4, "no empty directories stay"


def test_an_empty_lake_has_every_table_and_no_rows(tmp_path: Path) -> None:
    with Lake(tmp_path) as lake:
        for name, table in TABLES.items():
            frame = lake.frame(f"SELECT * FROM {name}")
            assert list(frame.columns) == table.schema.names
            assert frame.empty


def test_a_spoilt_file_and_a_wrong_question_are_told_apart(tmp_path: Path) -> None:
    clock = Clock()
    filled(tmp_path, 1, clock)
    with Lake(tmp_path) as lake, pytest.raises(ConfigError, match="no_such_column"):
        lake.rows("SELECT no_such_column FROM metrics")
    spoilt = files.found(tmp_path, "metrics")[0].path
    spoilt.write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(StorageError, match=spoilt.name), Lake(tmp_path) as lake:
        lake.rows("SELECT count(*) FROM metrics")
    with pytest.raises(ConfigError, match="no such directory"):
        Lake(tmp_path / "nowhere")
