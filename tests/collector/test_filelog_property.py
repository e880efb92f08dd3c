"""Whatever a writer and its rotations do: each line arrives, in order, once; after a kill, what was acknowledged does
not come again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from filelog_parts import Following, Generation, Writer
from hypothesis import given, settings
from hypothesis import strategies as st

from collector_ext.receiver.filelog import reader
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.settings.sizes import ByteSize

OFTEN = ["write"] * 4 + ["poll"] * 3 + ["take"] * 3
SELDOM = ["rename", "copytruncate", "compress", "delete", "restart", "crash", "offer", "refuse", "begin"]
STEPS = st.lists(
    st.tuples(st.sampled_from(OFTEN + SELDOM), st.integers(1, 12), st.integers(0, 1)), min_size=20, max_size=80
)
"""What, how much, and to which of the two files."""


class World:
    """Two writers, one reader, and the account of what may be lost: only what no poll could see, or what a kill took
    while no file had it any more.
    """

    def __init__(self, directory: Path, *, copies: bool) -> None:
        (directory / "log").mkdir()
        self.copies = copies
        self.reading = Following(
            FileLogConfig(
                include=(str(directory / "log" / ("*.log*" if copies else "*.log")),),
                start_at="beginning",
                storage=str(directory / "positions"),
                force_flush_period=0.0,  # type: ignore[arg-type]
                max_log_size=ByteSize(100),
                buffer_size=ByteSize(1000),
                fingerprint_size=ByteSize(16),
            )
        )
        self.writers = [Writer(directory / "log", name) for name in ("a", "b")]
        self.may_be_lost: set[str] = set()
        self.crashed = False

    @property
    def generations(self) -> list[Generation]:
        return [generation for writer in self.writers for generation in writer.generations]

    def step(self, what: str, count: int, writer: Writer) -> None:
        match what:
            case "write" | "rename":
                count = count % 4 if what == "rename" else count
                if what == "rename" and not writer.current.met and not self.copies:
                    self.may_be_lost.update(writer.current.lines)  # it came and went between two polls
                    writer.finish()
                    before = writer.current
                    writer.rename(count)
                    self.may_be_lost.update(before.lines)
                else:
                    getattr(writer, what)(count)
            case "begin":
                writer.begin()
            case "copytruncate":
                before = writer.current
                writer.copytruncate()
                if not self.copies:
                    self.may_be_lost.update(before.lines[before.sure :])
                    before.readable = False
            case "compress" | "delete":
                gone = {id(one) for one in self.generations if one.readable}
                getattr(writer, what)()
                for one in self.generations:
                    if id(one) in gone and not one.readable and not one.met:
                        self.may_be_lost.update(one.lines[one.sure :])
            case "poll":
                self.poll()
            case "take":
                self.reading.take()
            case "refuse":
                self.reading.refuse()
            case "restart":
                self.reading.restart()
                self.poll()
            case "offer" | "crash":
                if what == "offer":
                    self.reading.offer()
                self.crashed = True
                acknowledged = set(self.reading.acknowledged)
                for one in self.generations:
                    listed = self.copies or one.path.suffix == ".log"
                    if not one.readable or not (listed or one.sure):
                        self.may_be_lost.update(set(one.lines) - acknowledged)
                    one.sure = len(acknowledged.intersection(one.lines))  # the rest is to be seen again
                self.reading.crash()
                self.poll()

    def poll(self) -> None:
        self.reading.poll()
        self.seen()

    def seen(self) -> None:
        for one in self.generations:
            one.met = one.met or one.readable
            if not self.reading.reader.full:
                one.sure = len(one.lines)

    def end(self) -> None:
        for writer in self.writers:
            writer.finish()
            writer.close()
        self.reading.rest()
        self.reading.reader.close()

    def check(self) -> None:
        told = self.reading.told
        written = {line for one in self.generations for line in one.lines}
        assert set(told) <= written, "a line that nobody wrote"
        assert written - set(told) <= self.may_be_lost, "a line is missing"
        acknowledged = self.reading.acknowledged
        assert len(acknowledged) == len(set(acknowledged)), "a line that was acknowledged came again"
        if not self.crashed:
            assert len(told) == len(set(told)), "a line came twice"
        for one in self.generations:
            mine = set(one.lines)
            assert [line for line in acknowledged if line in mine] == sorted(mine & set(acknowledged))


@settings(max_examples=150)
@given(steps=STEPS, copies=st.booleans())
def test_every_line_arrives_once_and_in_order_whatever_happens_to_the_files(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int, int]], copies: bool
) -> None:
    monkeypatch.setattr(reader, "BATCH_RECORDS", 4)  # a chunk is more than a batch
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), copies=copies)
        for what, count, which in steps:
            world.step(what, count, world.writers[which])
        world.end()
        world.check()
