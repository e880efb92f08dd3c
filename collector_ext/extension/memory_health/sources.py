"""Where the readings come from: /proc, the cgroup, and a program of NVIDIA's where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

from collector_ext.extension.memory_health.judge import Reading
from collector_ext.extension.memory_health.tegrastats import LINE_LIMIT, PLACES, Tegra, parse
from edgesync.host import cgroup, proc


class Sources:
    """One machine's. `proc_root` and `group` can be a test's."""

    def __init__(self, group: str = "", proc_root: str = "/proc") -> None:
        self._proc, self._path = proc_root, group
        self._own_group = None if group else cgroup.find(proc_root)

    def look(self) -> Reading | None:
        """None where /proc does not say what memory there is."""
        memory = proc.memory(self._proc)
        if memory is None:
            return None
        groups = tuple(cgroup.usages(group)) if (group := self._group()) else ()
        return Reading(memory, groups, proc.faults(self._proc), proc.pressure(self.pressure_file))

    def own(self) -> proc.Own | None:
        return proc.own(self._proc)

    @property
    def pressure_file(self) -> str:
        """The group's, where it has one; else the machine's."""
        group = self._group()
        mine = os.path.join(group.path, "memory.pressure") if group else ""
        return mine if mine and os.path.exists(mine) else os.path.join(self._proc, "pressure/memory")

    def _group(self) -> cgroup.Group | None:
        """A group that is named may come and go with the service that it is of."""
        return cgroup.at(self._path) if self._path else self._own_group


class TegraStats:
    """The last line of a `tegrastats` that runs beside."""

    def __init__(self, program: str, interval: float, log: logging.Logger) -> None:
        self._program = program or next((place for place in PLACES if os.access(place, os.X_OK)), "")
        self._interval, self._log = interval, log
        self.last: Tegra | None = None

    @property
    def wanted(self) -> bool:
        return self._program not in ("", "off")

    async def run(self) -> None:
        """Until cancelled, or until the program ends: then there are no more readings, which is no error of ours."""
        try:
            child = await asyncio.create_subprocess_exec(
                self._program,
                "--interval",
                str(int(1000 * self._interval)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=LINE_LIMIT,
                start_new_session=True,
            )
        except OSError as error:
            self._log.warning("%s cannot be started: %s", self._program, error)
            return
        assert child.stdout is not None
        try:
            while line := await child.stdout.readline():
                self.last = parse(line.decode(errors="replace")) or self.last
            self._log.warning("%s ended", self._program)
        except ValueError:
            self._log.warning("%s: a line of more than %d bytes", self._program, LINE_LIMIT)
        finally:
            self.last = None
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):  # it ended by itself in between
                    os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
