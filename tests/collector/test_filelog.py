"""filelog as its users meet it: nothing lost, nothing held up, everything told."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import random
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelog_parts import LOG, Following, Writer, bodies, config, records
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.component import Consumers
from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.pdata import Data
from collector_ext.receiver.filelog import receiver as receiving
from collector_ext.receiver.filelog import tails
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.factory import FACTORY
from collector_ext.receiver.filelog.reader import Reader
from collector_ext.receiver.filelog.receiver import FileLog
from collector_ext.registry import EntryPoints
from collector_ext.status import Status
from collector_ext.testing.contract import check_factory, check_life, check_registered
from collector_ext.testing.doubles import Host, Sink, settings
from edgesync.wire.errors import StorageError

LIMIT = 20.0


def made(directory: Path, more: str = "", start_at: str = "beginning") -> FileLogConfig:
    return config(
        f"{{include: ['{directory}/*.log'], start_at: {start_at}, storage: '{directory}/positions',"
        f" poll_interval: 10ms, force_flush_period: 0s{more and ', ' + more}}}"
    )


class Running:
    """One receiver and what it gives."""

    def __init__(self, config: FileLogConfig, consumer: Any = None) -> None:
        self.sink, self.host, self.settings = Sink(), Host(), settings("filelog")
        self.receiver = FileLog(self.settings, config, Consumers(logs=consumer or self.sink))

    async def __aenter__(self) -> Running:  # noqa: PYI034 - Self is of Python 3.11
        await self.receiver.start(self.host)
        self.host.report_status(Status.OK)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.shutdown()

    @property
    def lines(self) -> list[str]:
        return [line for batch in self.sink.batches for line in bodies(batch)]

    def metric(self, text: str) -> bool:
        return text.encode() in self.settings.meter.exposition()


async def until(condition: Callable[[], object]) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), LIMIT)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "AGAIN_FIRST", 0.02)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path, "app")
    yield made
    made.close()


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    (tmp_path / "a.log").write_text("a line\n")
    asyncio.run(check_life(FACTORY, made(tmp_path)))


# --- lines and records --------------------------------------------------------------------------------------------


def test_a_line_is_a_record_with_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("first\n\n second \r\nthird")
    options = "include_file_path: true, attributes: {a: b}, resource: {service.name: pump}"

    async def scenario() -> None:
        async with Running(made(tmp_path, options)) as running:
            await until(lambda: running.lines)
        assert running.lines == ["first", " second "]
        (logs,) = running.sink.batches
        assert logs.resources[0].resource.attributes == {"service.name": "pump"}
        (first, _) = records(logs)
        assert first.attributes == {"a": "b", "log.file.name": "app.log", "log.file.path": f"{tmp_path}/app.log"}
        assert abs(first.observed_time - time.time_ns()) < 60 * 10**9
        assert running.metric('otelcol_receiver_accepted_log_records{receiver="filelog"} 2')

    asyncio.run(scenario())


def test_severity_and_time_are_parsed_where_a_regex_says_how(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("2026-11-26T10:50:39Z ERROR it broke\nand so on\n")
    options = "parse: {regex: '^(?P<time>\\S+) (?P<severity>\\w+) (?P<body>.*)'}"

    async def scenario() -> None:
        async with Running(made(tmp_path, options)) as running:
            await until(lambda: running.lines)
        first, second = records(running.sink.batches[0])
        assert (first.severity, first.severity_text, first.body) == (17, "ERROR", "it broke")
        assert (first.time, second.time, second.body) == (1795690239 * 10**9, 0, "and so on")

    asyncio.run(scenario())


def test_a_line_without_an_end_comes_when_it_has_waited_and_the_rest_of_it_later(tmp_path: Path) -> None:
    following = Following(config(f"{{include: ['{tmp_path}/*.log'], start_at: beginning, force_flush_period: 3s}}"))
    with (tmp_path / "a.log").open("w", buffering=1) as file:
        file.write("one\ntw")
        following.poll()
        following.poll()
        following.take()
        assert following.told == ["one"]
        file.write("o")
        file.flush()
        for _ in range(5):
            following.poll()
        following.take()
        assert following.told == ["one", "two"]
        file.write(" and a half\n")
        following.rest()
    assert following.told == ["one", "two", " and a half"]


def test_lines_that_are_too_long_are_cut_counted_and_not_lost(tmp_path: Path) -> None:
    long = "".join(random.Random(1).choices("abcdef", k=1000))
    (tmp_path / "app.log").write_text(f"short\n{long}\nshort\n{long}")

    async def scenario() -> None:
        async with Running(made(tmp_path, "max_log_size: 100, buffer_size: 400")) as running:
            await until(lambda: len("".join(running.lines)) == 2 * len("short") + 2 * len(long) - 100)
        assert "".join(running.lines) == f"short{long}short{long[:900]}"
        assert max(map(len, running.lines)) == 100
        assert running.metric('collector_filelog_cuts{receiver="filelog"} 18')

    asyncio.run(scenario())


def test_an_entry_of_several_lines_is_one_record(tmp_path: Path) -> None:
    options = "multiline: {line_start_pattern: '^\\d'}"
    (tmp_path / "app.log").write_text("1 a\n  b\n2 c\n3 d\n")

    async def scenario() -> None:
        async with Running(made(tmp_path, options)) as running:
            await until(lambda: running.lines)
        assert running.lines == ["1 a\n  b", "2 c"]

    asyncio.run(scenario())


# --- where it starts ----------------------------------------------------------------------------------------------


def test_at_the_end_means_the_first_start_only(tmp_path: Path, writer: Writer) -> None:
    writer.write(3)
    following = Following(made(tmp_path, start_at="end"))
    following.rest()
    assert following.told == []
    writer.write(2)
    (tmp_path / "new.log").write_text("a new file, from its beginning\n")
    following.rest()
    assert sorted(following.told) == ["a new file, from its beginning", *writer.current.lines[3:]]
    following.restart()
    (tmp_path / "meanwhile.log").write_text("written while nobody read\n")
    writer.write(1)
    following.rest()
    assert sorted(following.told[3:]) == [*writer.current.lines[5:], "written while nobody read"]


def test_without_storage_a_restart_begins_as_it_says(tmp_path: Path, writer: Writer) -> None:
    writer.write(3)
    following = Following(config(f"{{include: ['{tmp_path}/*.log'], start_at: beginning}}"))
    following.restart()
    following.rest()
    assert following.told == writer.current.lines * 2


def test_without_storage_nothing_is_remembered_of_files_that_are_gone(tmp_path: Path) -> None:
    following = Following(config(f"{{include: ['{tmp_path}/*.log'], start_at: beginning}}"))
    for number in range(3):
        (tmp_path / f"{number}.log").write_text(f"{number}\n")
        following.rest()
        (tmp_path / f"{number}.log").unlink()
        following.poll(after=tails.QUIET)
    following.poll(after=tails.QUIET)
    following.rest()
    assert (following.told, following.reader._tails.changes()) == (["0", "1", "2"], [])


@hypothesis.settings(max_examples=30)
@given(st.binary(max_size=200), st.integers(0, 300))
def test_positions_that_are_damaged_are_told_and_lines_come_twice_rather_than_never(damage: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        writer = Writer(Path(directory), "app")
        writer.write(5)
        following = Following(made(Path(directory), start_at="beginning"))
        following.rest()
        following.reader.close()
        path = Path(directory, "positions/filelog.offsets")
        content = path.read_bytes()
        path.write_bytes(content[:at] + damage + content[at + len(damage) :])
        writer.write(5)
        following.reader = Reader(following.config, "filelog", LOG)
        following.rest()
        following.reader.close()
        writer.close()
        assert set(following.told) == set(writer.current.lines)


def test_damaged_positions_are_a_warning_with_the_file_s_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "positions").mkdir()
    path = tmp_path / "positions/filelog.offsets"
    path.write_bytes(b"12345678 {}\n" * 3)
    Following(made(tmp_path)).reader.close()
    assert f"positions are lost, and what they were for is read from its beginning: {path}: 3 of 3" in caplog.text


def test_a_place_for_positions_that_cannot_be_made_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "positions").write_text("in the way")

    async def scenario() -> None:
        running = Running(made(tmp_path))
        with pytest.raises(StorageError, match="positions"):
            await running.receiver.start(running.host)
        await running.receiver.shutdown()

    asyncio.run(scenario())


# --- rotation -----------------------------------------------------------------------------------------------------


def test_what_is_compressed_is_not_read_whatever_its_name(tmp_path: Path) -> None:
    following = Following(config(f"{{include: ['{tmp_path}/*'], start_at: beginning, force_flush_period: 0s}}"))
    (tmp_path / "app.log").write_text("a line\n")
    (tmp_path / "app.log.1").write_bytes(gzip.compress(b"an old line\n" * 100))
    following.rest()
    with (tmp_path / "app.log.2.gz").open("wb") as file:  # it is seen while it is empty
        following.rest()
        file.write(gzip.compress(b"an older line\n" * 100))
    following.rest()
    assert following.told == ["a line"]


def test_a_daemon_that_keeps_the_old_file_open_is_heard_until_it_is_quiet(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Following(made(tmp_path))
    writer.write(1)
    following.rest()
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    (tmp_path / "app.log").write_text("a new daemon\n")
    following.rest()
    for _ in range(3):
        writer.write(1)
        following.poll(after=tails.QUIET - 10)
        following.rest()
    (tmp_path / "app.log.1").unlink()  # and also when it has no name any more
    writer.write(1)
    writer.begin()
    following.rest()
    assert sorted(following.told) == ["a new daemon", *writer.current.lines]
    following.poll(after=tails.QUIET + 1)
    following.rest()
    following.rest()
    assert following.told[-1] == "app line 0000000"  # what it never finished
    assert following.reader.open_files == 1


def test_a_writer_that_goes_on_behind_a_truncation_leaves_zeros_that_are_skipped(tmp_path: Path) -> None:
    following = Following(made(tmp_path))
    with (tmp_path / "app.log").open("wb", buffering=0) as file:  # not appending: it keeps its position
        for number in range(5):
            file.write(f"line {number}\n".encode() + b"y" * 5000 + b"\n")
            following.rest()
            if number % 2:
                os.truncate(file.fileno(), 0)
                following.poll()
        file.seek(1 << 40)  # a hole of a terabyte
        file.write(b"the end\n")
        following.rest()
    assert [line for line in following.told if line[0] != "y"] == [*(f"line {n}" for n in range(5)), "the end"]


def test_room_that_was_made_for_lines_is_waited_for(tmp_path: Path) -> None:
    following = Following(made(tmp_path))
    with (tmp_path / "app.log").open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        for number in range(3):
            following.rest()
            file.write(f"line {number}\n".encode())
        following.rest()
    assert following.told == ["line 0", "line 1", "line 2"]


def test_the_copy_of_a_file_that_is_truncated_is_not_read_again_however_short_it_is(tmp_path: Path) -> None:
    following = Following(config(f"{{include: ['{tmp_path}/app.log*'], start_at: beginning}}"))
    written = tmp_path / "app.log"
    for number in range(5):
        with written.open("a") as file:
            file.write(f"{number} line\n")
        following.rest()
        with written.open("a") as file:
            file.write(f"{number} line that nobody has seen yet\n")
        (tmp_path / f"app.log.{number}").write_bytes(written.read_bytes())
        os.truncate(written, 0)
    following.rest()
    assert following.told == [line for n in range(5) for line in (f"{n} line", f"{n} line that nobody has seen yet")]


def test_a_second_file_with_the_same_beginning_is_taken_for_a_copy_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    following = Following(made(tmp_path, "fingerprint_size: 16"))
    (tmp_path / "a.log").write_text("the same beginning\n")
    following.rest()
    (tmp_path / "b.log").write_text("the same beginning\nand more\n")
    following.rest()
    assert following.told == ["the same beginning"]
    assert caplog.text.count("is taken for a copy of it") == 1


def test_a_file_keeps_its_position_over_a_reboot_that_numbers_devices_anew(tmp_path: Path, writer: Writer) -> None:
    following = Following(made(tmp_path))
    writer.write(3)
    following.rest()
    following.reader.close()
    positions, _ = following.reader._offsets.load()  # type: ignore[union-attr]
    assert positions
    moved = [replace(one, inode=(one.inode[0] + 1, one.inode[1])) for one in positions]
    following.reader._offsets.rewrite(moved)  # type: ignore[union-attr]
    writer.write(2)
    following.reader = Reader(following.config, "filelog", LOG)
    following.rest()
    assert following.told == writer.current.lines


def test_more_files_than_may_be_open_are_read_in_turns(tmp_path: Path) -> None:
    following = Following(made(tmp_path, "max_concurrent_files: 2"))
    for number in range(3):
        for name in "abcdef":
            with (tmp_path / f"{name}.log").open("a") as file:
                file.write(f"{name} {number}\n")
        following.rest()
        assert following.reader.open_files <= 2
    assert sorted(following.told) == sorted(f"{name} {number}" for number in range(3) for name in "abcdef")


# --- pipelines that refuse ----------------------------------------------------------------------------------------


def test_what_is_refused_for_now_is_offered_again_in_order_and_nothing_is_lost(tmp_path: Path, writer: Writer) -> None:
    writer.write(20)

    async def scenario() -> None:
        running = Running(made(tmp_path))
        running.sink.error = RetryableError("the disk is full")
        async with running:
            await until(lambda: running.host.status is Status.RECOVERABLE_ERROR)
            assert "the disk is full" in str(running.host.events[-1].error)
            writer.write(20)
            writer.rename(5)
            running.sink.error = None
            await until(lambda: len(running.lines) == 45)
            await until(lambda: running.host.status is Status.OK)
            assert running.lines == writer.generations[0].lines
            assert running.metric("otelcol_receiver_refused_log_records")

    asyncio.run(scenario())


def test_what_is_refused_at_the_end_comes_at_the_next_start(tmp_path: Path, writer: Writer) -> None:
    writer.write(20)

    async def scenario() -> None:
        running = Running(made(tmp_path))
        running.sink.error = RetryableError("not now")
        async with running:
            await until(lambda: running.host.status is Status.RECOVERABLE_ERROR)
        async with Running(made(tmp_path)) as running:
            await until(lambda: running.lines)
        assert running.lines == writer.current.lines

    asyncio.run(scenario())


def test_what_is_refused_for_good_is_dropped_and_counted_and_holds_nothing_up(tmp_path: Path, writer: Writer) -> None:
    writer.write(20)

    async def scenario() -> None:
        running = Running(made(tmp_path))
        running.sink.error = PermanentError("no such table")
        async with running:
            await until(lambda: running.metric('collector_filelog_dropped_records{receiver="filelog"} 20'))
            assert "20 records were dropped: no such table" in str(running.host.events[-1].error)
            running.sink.error = None
            writer.write(1)
            await until(lambda: running.lines)
            assert running.lines == writer.current.lines[20:]
            assert running.host.status is Status.OK

    asyncio.run(scenario())


class Stuck:
    """A consumer that takes its time."""

    def __init__(self) -> None:
        self.go, self.batches = asyncio.Event(), [0]

    async def consume(self, data: Data) -> None:
        await self.go.wait()
        self.batches.append(len(data))


def test_a_pipeline_that_takes_for_ever_does_not_keep_rotated_files_from_being_seen(
    tmp_path: Path, writer: Writer
) -> None:
    async def scenario() -> None:
        consumer = Stuck()
        async with Running(made(tmp_path), consumer) as running:
            writer.write(5)
            await until(lambda: running.metric('open_files{receiver="filelog"} 1'))
            for _ in range(5):  # each is gone before the first batch is taken
                writer.write(5)
                writer.rename(0)
                seen = running.receiver._reader
                assert seen
                await until(lambda reader=seen: len(reader._chunks) > writer.rotations)
                writer.delete()
            consumer.go.set()
            await until(lambda: sum(consumer.batches) == 30)

    asyncio.run(scenario())


def test_the_end_waits_only_so_long_for_a_pipeline_that_takes_for_ever(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "STOP_LIMIT", 0.1)
    writer.write(5)

    async def scenario() -> None:
        running = Running(made(tmp_path), Stuck())
        async with running:
            await until(lambda: running.receiver._reader and running.receiver._reader.waiting)
        async with Running(made(tmp_path)) as running:
            await until(lambda: len(running.lines) == 5)

    asyncio.run(scenario())


# --- bounds -------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_however_much_waits(tmp_path: Path) -> None:
    lines = [f"line {number} of many\n" for number in range(30_000)]
    following = Following(made(tmp_path, "max_log_size: 1KiB, buffer_size: 64KiB"))
    with (tmp_path / "app.log").open("w") as file:
        file.writelines(lines[:1000])
        file.flush()
        following.rest()
        tracemalloc.start()
        try:
            file.writelines(lines[1000:])
            file.flush()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for _ in range(20):
                following.poll()
                following.refuse()
                assert following.reader.full
                assert 0 < following.reader.waiting <= 64 * 1024
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < 1 << 20  # one batch of values
    following.rest()
    assert following.told == [line.rstrip() for line in lines]


def test_zeros_and_ends_of_lines_without_any_line_are_no_records_and_cost_no_memory(tmp_path: Path) -> None:
    following = Following(made(tmp_path))
    (tmp_path / "app.log").write_bytes(b"\n\r\0" * 30_000 + b"\nthe end\n")
    following.rest()
    assert following.told == ["the end"]


# --- what is in the way -------------------------------------------------------------------------------------------


def test_a_pipe_is_refused_and_its_writer_does_not_notice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "app.log").write_text("a line\n")

    async def scenario() -> None:
        async with Running(made(tmp_path)) as running:
            await until(lambda: running.lines and running.host.status is Status.RECOVERABLE_ERROR)
            with pytest.raises(OSError, match="No such device"):  # there is nobody who reads
                os.open(tmp_path / "pipe.log", os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.1)
            assert len(running.host.events) == 3, "told once"
            assert str(running.host.events[-1].error) == f"{tmp_path}/pipe.log: not a regular file; it is not opened"
            (tmp_path / "pipe.log").unlink()
            await until(lambda: running.host.status is Status.OK)

    asyncio.run(scenario())


def test_a_file_that_cannot_be_read_is_named_and_read_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.log").write_text(f"a line of {name}\n")
    locked, opened = set("bcdef"), tails.open_regular

    def open_regular(path: str) -> int:
        if Path(path).stem in locked:
            raise PermissionError(13, "Permission denied")
        return opened(path)

    monkeypatch.setattr(tails, "open_regular", open_regular)

    async def scenario() -> None:
        async with Running(made(tmp_path)) as running:
            await until(lambda: running.lines == ["a line of a"] and running.host.status is Status.RECOVERABLE_ERROR)
            said = [f"{tmp_path}/{name}.log: Permission denied" for name in "bcd"]
            assert str(running.host.events[-1].error) == "; ".join([*said, "and 2 more"])
            locked.clear()
            await until(lambda: len(running.lines) == 6 and running.host.status is Status.OK)

    asyncio.run(scenario())


def test_a_directory_that_goes_away_is_named_and_what_comes_with_it_again_is_read(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").write_text("one\n")
    options = config(f"{{include: ['{logs}/*.log'], start_at: beginning, poll_interval: 10ms}}")

    async def scenario() -> None:
        async with Running(options) as running:
            await until(lambda: running.lines == ["one"])
            logs.rename(tmp_path / "away")
            await until(lambda: running.host.status is Status.RECOVERABLE_ERROR)
            assert str(running.host.events[-1].error) == f"{logs}: No such file or directory"
            (tmp_path / "away").rename(logs)
            with (logs / "a.log").open("a") as file:
                file.write("two\n")
            await until(lambda: running.lines == ["one", "two"] and running.host.status is Status.OK)

    asyncio.run(scenario())


def test_a_disk_without_room_for_positions_is_told_and_reading_goes_on(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    full = True

    def failing(fd: int, data: bytes) -> int:
        if full and b'"inode"' in data:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    async def scenario() -> None:
        nonlocal full
        writer.write(2)
        async with Running(made(tmp_path)) as running:
            await until(lambda: len(running.lines) == 2)
            monkeypatch.setattr(os, "write", failing)
            writer.write(2)
            await until(lambda: len(running.lines) == 4 and running.host.status is Status.RECOVERABLE_ERROR)
            assert "filelog.offsets: No space left on device" in str(running.host.events[-1].error)
            full = False
            writer.write(1)
            await until(lambda: running.host.status is Status.OK)
        async with Running(made(tmp_path)) as running:
            writer.write(1)
            await until(lambda: running.lines)
            assert running.lines == writer.current.lines[5:]

    asyncio.run(scenario())


def test_a_disk_that_hangs_holds_up_neither_the_loop_nor_the_end(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "STOP_LIMIT", 0.1)
    writer.write(1)
    hang, hung = threading.Event(), threading.Event()
    status = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        if str(path).endswith("app.log") and threading.current_thread().name == "blocking" and not hang.is_set():
            hung.set()
            hang.wait(LIMIT)
        return status(path, **more)

    async def scenario(stopped: Callable[[], Awaitable[None]]) -> None:
        async with Running(made(tmp_path)):
            monkeypatch.setattr(os, "stat", stat)
            await until(hung.is_set)
            await stopped()

    asyncio.run(scenario(lambda: asyncio.sleep(0.05)))
    hang.set()
