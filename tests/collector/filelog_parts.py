"""A writer with its rotations, and who reads behind it, for tests of filelog."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector_ext.pdata import LogRecord, Logs
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.reader import Batch, Reader
from collector_ext.settings.bind import Problems, bind
from collector_ext.settings.compose import compose

LOG = logging.getLogger("collector.test.filelog")


def config(text: str, **changes: Any) -> FileLogConfig:
    """Of YAML, as a user writes it. Raises ConfigError."""
    problems = Problems()
    bound = bind(FileLogConfig(**changes), compose("c.yaml", text.encode()), "filelog", problems)
    problems.raise_any()
    for part in (bound, bound.multiline, bound.parse):
        part.validate()
    return bound


def records(logs: Any) -> list[LogRecord]:
    assert isinstance(logs, Logs)
    return [record for resource in logs.resources for scope in resource.scopes for record in scope.records]


def bodies(logs: Any) -> list[str]:
    return [str(record.body) for record in records(logs)]


class Following:
    """One reader after the other on the same positions, with a clock that is turned by hand."""

    def __init__(self, config: FileLogConfig) -> None:
        self.config, self.now = config, 1000.0
        self.told: list[str] = []
        self.acknowledged: list[str] = []
        self.reader = self._new()

    def _new(self) -> Reader:
        return Reader(self.config, "filelog", LOG)

    def poll(self, after: float = 1.0) -> None:
        self.now += after
        self.reader.poll(self.now)

    def take(self) -> bool:
        """One batch; False for none."""
        batch = self.offer()
        if batch:
            self.reader.following(batch)
            self.acknowledged += bodies(batch.logs)
        return batch is not None

    def offer(self) -> Batch | None:
        """A batch that the pipeline may have taken, and nobody says so."""
        batch = self.reader.following(None)
        if batch:
            self.told += bodies(batch.logs)
        return batch

    def refuse(self) -> None:
        self.reader.following(None)

    def rest(self) -> None:
        """Everything there is."""
        for _ in range(1000):
            self.poll()
            taken = False
            while self.take():
                taken = True
            if not taken and not self.reader.full:
                return
        raise AssertionError("there is no end to it")

    def restart(self) -> None:
        self.rest()
        self.reader.close()
        self.reader = self._new()

    def crash(self) -> None:
        """What is not on disk is gone, as at a kill."""
        self.reader._tails.close()
        if self.reader._offsets:
            self.reader._offsets.close()
        self.reader = self._new()


@dataclass(eq=False)
class Generation:
    """What was written to one file between two rotations; `sure` of its lines a poll has seen in full."""

    path: Path
    lines: list[str] = field(default_factory=list)
    sure: int = 0
    met: bool = False
    readable: bool = True


class Writer:
    """Writes numbered lines to one log, and rotates it in every way that there is."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path, self.name = directory / f"{name}.log", name
        self.generations: list[Generation] = []
        self.number = self.rotations = 0
        self.begun = ""
        self._before: Any = None
        self._create()

    @property
    def current(self) -> Generation:
        return self.generations[-1]

    def _create(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        self.generations.append(Generation(self.path))

    def _line(self) -> str:
        self.number += 1
        return f"{self.name} line {self.number:08} " + "x" * (self.number * 7 % 50)

    def write(self, count: int) -> None:
        self.finish()
        lines = [self._line() for _ in range(count)]
        self.current.lines += lines
        os.write(self._file.fileno(), "".join(f"{line}\n" for line in lines).encode())

    def begin(self) -> None:
        """A line that is not finished."""
        if not self.begun:
            self.begun = self._line()
            os.write(self._file.fileno(), self.begun[:16].encode())

    def finish(self) -> None:
        if self.begun:
            os.write(self._file.fileno(), f"{self.begun[16:]}\n".encode())
            self.current.lines.append(self.begun)
            self.begun = ""

    def rename(self, late: int) -> None:
        """`late` lines still go to the renamed file."""
        self._rotated().path = self.path.rename(self._target())
        self.write(late)
        self._file.close()
        self._create()

    def copytruncate(self) -> None:
        old = self._rotated()
        old.path = self._target()
        shutil.copyfile(self.path, old.path)
        os.truncate(self.path, 0)
        old.met = False  # the copy is another file
        self.generations.append(Generation(self.path))

    def compress(self) -> None:
        """What was rotated last."""
        for generation in self._kept()[-1:]:
            packed = generation.path.with_name(generation.path.name + ".gz")
            packed.write_bytes(gzip.compress(generation.path.read_bytes()))
            self._gone(generation)

    def delete(self) -> None:
        """What was rotated first."""
        for generation in self._kept()[:1]:
            self._gone(generation)

    def close(self) -> None:
        self._file.close()

    def _rotated(self) -> Generation:
        self.finish()
        return self.current

    def _target(self) -> Path:
        self.rotations += 1
        return self.path.with_name(f"{self.path.name}.{self.rotations}")

    def _kept(self) -> list[Generation]:
        return [generation for generation in self.generations[:-1] if generation.path.exists()]

    def _gone(self, generation: Generation) -> None:
        generation.path.unlink()
        generation.readable = False
