"""A real collector is killed again and again while a real writer writes and rotates: every line comes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelog_parts import Writer

from collector_ext.receiver.filelog.reader import BATCH_RECORDS

COMMAND = [str(Path(sys.executable).with_name("edgesync-collector")), "--config"]
CONFIG = """\
receivers:
  filelog: {include: ["DIRECTORY/log/*.log*"], start_at: beginning, storage: DIRECTORY/positions, poll_interval: 50ms}
exporters:
  debug: {verbosity: detailed}
service:
  pipelines:
    logs: {receivers: [filelog], exporters: [debug]}
"""
KILLS = 5
LIMIT = 120.0
LINE = re.compile(r"'(app line \d+ x*)'$", re.MULTILINE)


class Collectors:
    """One after the other; what they told is in one file."""

    def __init__(self, directory: Path) -> None:
        self.said = directory / "said.txt"
        self.said.touch()
        (directory / "log").mkdir()
        (directory / "c.yaml").write_text(CONFIG.replace("DIRECTORY", str(directory)))
        self._command = [*COMMAND, str(directory / "c.yaml")]
        self.start()

    def start(self) -> None:
        with self.said.open("ab") as file:
            self.running = subprocess.Popen(self._command, stdout=file, stderr=file)

    @property
    def lines(self) -> list[str]:
        return LINE.findall(self.said.read_text())

    def until(self, count: int) -> None:
        """Until so many different lines were told."""
        end = time.monotonic() + LIMIT
        while len(set(self.lines)) < count:
            assert self.running.poll() is None, self.said.read_text()[-2000:]
            assert time.monotonic() < end, f"{len(set(self.lines))} of {count} lines"
            time.sleep(0.05)


@pytest.fixture
def collectors(tmp_path: Path) -> Iterator[Collectors]:
    made = Collectors(tmp_path)
    yield made
    made.running.kill()
    made.running.wait()


def test_every_line_comes_over_kills_and_rotations_and_few_come_twice(tmp_path: Path, collectors: Collectors) -> None:
    writer, stop = Writer(tmp_path / "log", "app"), threading.Event()

    def write() -> None:
        while not stop.wait(0.01):
            writer.write(20)
            if len(writer.current.lines) >= 700:
                writer.rename(late=3)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(KILLS):
            collectors.until(len(set(collectors.lines)) + 500)
            collectors.running.send_signal(signal.SIGKILL)
            collectors.running.wait()
            time.sleep(0.2)  # the writer goes on, and rotates
            collectors.start()
    finally:
        stop.set()
        thread.join()
    written = [line for generation in writer.generations for line in generation.lines]
    writer.close()
    assert writer.rotations > KILLS
    collectors.until(len(written))
    collectors.running.send_signal(signal.SIGINT)
    assert collectors.running.wait(timeout=60) == 0
    told = Counter(collectors.lines)
    assert told.keys() == set(written)
    assert sum(told.values()) - len(told) <= KILLS * BATCH_RECORDS, "more came twice than one batch a kill"
    collectors.start()  # after a stop nothing comes twice
    with (tmp_path / "log/app.log").open("a") as file:
        file.write("app line 99999999 \n")
    collectors.until(len(written) + 1)
    assert len(collectors.lines) == sum(told.values()) + 1
