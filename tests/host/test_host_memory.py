"""Memory as /proc and cgroups tell it, from trees that are made here: version 1, version 2, both, a container."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.host import cgroup, proc, psi
from tests.groups import limited_group

MIB = 1 << 20


def write(root: Path, **files: str) -> None:
    """Files by their path, with `__` for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# --- /proc --------------------------------------------------------------------------------------------------------


def test_memory_is_read_in_bytes(tmp_path: Path) -> None:
    text = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\nSwapTotal: 8 kB\nSwapFree: 2 kB\n"
    write(tmp_path, meminfo=text)
    assert proc.memory(str(tmp_path)) == proc.Memory(1000 * 1024, 250 * 1024, 8 * 1024, 2 * 1024)


def test_an_old_kernel_without_memavailable_is_guessed_from_what_is_free_and_cached(tmp_path: Path) -> None:
    write(tmp_path, meminfo="MemTotal: 1000 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 20 kB\n")
    assert proc.memory(str(tmp_path)) == proc.Memory(1000 * 1024, 30 * 1024, 0, 0)


def test_own_memory_faults_and_pressure_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        self__smaps_rollup="55d0-7ffe ---p 0 00:00 0 [rollup]\nRss: 20 kB\nPss: 12 kB\nPss_Anon: 7 kB\n"
        "Anonymous: 8 kB\n",
        vmstat="pgfault 9\npgmajfault 5\noom_kill 2\noom_kill_other 7\n",
        pressure__memory="some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n"
        "full avg10=0.50 avg60=0.10 avg300=0.00 total=9\n",
    )
    assert proc.own(str(tmp_path)) == proc.Own(20 * 1024, 12 * 1024, 8 * 1024)
    assert proc.faults(str(tmp_path)) == proc.Faults(5, 2)
    assert proc.pressure(str(tmp_path / "pressure/memory")) == proc.Pressure(1.5, 0.25, 0.5, 0.1, 77, 9)


def test_what_a_kernel_does_not_have_is_none(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert [proc.memory(root), proc.own(root), proc.faults(root), proc.pressure(root)] == [None] * 4
    write(tmp_path, meminfo="nonsense", pressure__memory="")
    assert proc.memory(root) is None
    assert proc.pressure(str(tmp_path / "pressure/memory")) is None


def test_this_machine_tells_something() -> None:
    memory, own = proc.memory(), proc.own()
    assert memory is not None
    assert own is not None
    assert 0 < memory.available <= memory.total
    assert 0 < own.share <= own.resident


@given(st.binary(max_size=300))
def test_whatever_a_kernel_writes_is_read_or_none(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in ("meminfo", "vmstat", "self/smaps_rollup", "self/mountinfo", "self/cgroup", "pressure/memory"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(data)
        proc.memory(place), proc.own(place), proc.faults(place)
        proc.pressure(str(root / "pressure/memory"))
        cgroup.find(place)


# --- cgroups ------------------------------------------------------------------------------------------------------

V1, V2 = "35 31 0:32 {root} {mount} rw - cgroup cgroup rw,memory", "41 31 0:38 {root} {mount} rw - cgroup2 cgroup2 rw"


class Machine:
    """A fake machine whose process is in `path` of each hierarchy."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.proc = place / "proc"
        self.mounts: list[str] = ["22 27 0:21 / /proc rw - proc proc rw"]
        self.groups: list[str] = ["1:cpu:/elsewhere"]

    def v1(self, path: str, root: str = "/", **groups: dict[str, int]) -> Path:
        return self._mount("v1", V1, root, f"4:memory:{path}", groups)

    def v2(self, path: str, root: str = "/", **groups: dict[str, int | str]) -> Path:
        return self._mount("v2", V2, root, f"0::{path}", groups)

    def _mount(self, name: str, line: str, root: str, group: str, groups: dict[str, dict[str, int | str]]) -> Path:
        mount = self.place / name
        mount.mkdir()
        self.mounts.append(line.format(root=root, mount=mount))
        self.groups.append(group)
        for directory, files in groups.items():
            for file, text in files.items():
                where = mount / directory.replace("_", "/").lstrip("/")
                where.mkdir(parents=True, exist_ok=True)
                (where / file).write_text(f"{text}\n")
        return mount

    def find(self) -> cgroup.Group | None:
        write(self.proc, self__mountinfo="\n".join(self.mounts), self__cgroup="\n".join(self.groups))
        return cgroup.find(str(self.proc))


OF_V1 = {
    "memory.usage_in_bytes": 90 * MIB,
    "memory.limit_in_bytes": 100 * MIB,
    "memory.soft_limit_in_bytes": 9223372036854771712,
    "memory.memsw.usage_in_bytes": 95 * MIB,
    "memory.failcnt": 3,
    "memory.stat": f"cache 1\ntotal_inactive_file {10 * MIB}",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
}
OF_V2 = {
    "memory.current": 90 * MIB,
    "memory.max": "max",
    "memory.high": 80 * MIB,
    "memory.swap.current": MIB,
    "memory.stat": f"anon 5\ninactive_file {10 * MIB}",
    "memory.events": "low 0\nhigh 7\nmax 3\noom 2\noom_kill 1\noom_group_kill 0",
}


def test_version_1_is_read(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    mount = machine.v1("/app", _app=OF_V1, _={"memory.usage_in_bytes": 5, "memory.limit_in_bytes": 9223372036854771712})
    group = machine.find()
    assert group == cgroup.Group(1, str(mount / "app"), str(mount))
    mine, root = cgroup.usages(group)
    assert mine == cgroup.Usage(str(mount / "app"), 80 * MIB, 100 * MIB, None, 5 * MIB, 3, 2)
    assert (root.path, root.used, root.limit) == (str(mount), 5, None)


def test_version_2_is_read_and_its_root_has_no_account(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    mount = machine.v2("/a/b", _a_b=OF_V2, _a={"memory.current": 95 * MIB, "memory.max": 100 * MIB})
    group = machine.find()
    assert group is not None
    mine, above = cgroup.usages(group)
    assert mine == cgroup.Usage(str(mount / "a/b"), 80 * MIB, None, 80 * MIB, MIB, 3, 1)
    assert (above.used, above.limit) == (95 * MIB, 100 * MIB)


def test_a_machine_with_both_versions_has_memory_where_the_controller_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.v2("/app", _app={"cgroup.procs": 1})
    mount = machine.v1("/app", _app=OF_V1)
    group = machine.find()
    assert group is not None
    assert (group.version, group.path) == (1, str(mount / "app"))


def test_version_2_without_the_controller_is_no_group(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.v2("/app", _app={"cgroup.procs": 1})
    assert machine.find() is None


def test_in_a_container_the_mount_begins_in_the_middle_of_the_hierarchy(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    mount = machine.v2("/docker/4c9b/child", root="/docker/4c9b", _child=OF_V2)
    group = machine.find()
    assert group is not None
    assert group.path == str(mount / "child")


def test_a_path_that_leads_out_of_the_mount_is_the_mount(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    mount = machine.v2("/../../host", _=OF_V2)
    group = machine.find()
    assert group is not None
    assert group.path == str(mount)


def test_a_group_by_its_directory_is_read_with_those_above_it(tmp_path: Path) -> None:
    mount = Machine(tmp_path).v2("/", _a=OF_V2 | {"cgroup.procs": 1}, _={"cgroup.procs": 1})
    group = cgroup.at(str(mount / "a"))
    assert group == cgroup.Group(2, str(mount / "a"), str(mount))
    assert cgroup.usages(cgroup.at(str(mount / "gone"))) == []


def test_a_mount_point_with_a_space_is_found(tmp_path: Path) -> None:
    place = tmp_path / "with space"
    place.mkdir()
    machine = Machine(place)
    mount = machine.v2("/", _=OF_V2)
    machine.mounts = [line.replace(" space", "\\040space") for line in machine.mounts]
    group = machine.find()
    assert group is not None
    assert group.path == str(mount)


# --- triggers -----------------------------------------------------------------------------------------------------


def test_a_trigger_that_is_refused_is_none(tmp_path: Path) -> None:
    async def life() -> list[object]:
        here = tmp_path / "memory"
        here.write_text("")  # takes any text, but is nothing that can be waited for
        return [psi.trigger(str(tmp_path / "gone"), 150_000, print), psi.trigger(str(here), 150_000, print)]

    assert asyncio.run(life()) == [None, None]


def test_a_trigger_is_armed_and_closed_without_a_leak() -> None:
    if not os.access("/proc/pressure/memory", os.W_OK):
        pytest.skip("no /proc/pressure/memory that this user may write to")

    async def life() -> bool:
        before = len(os.listdir("/proc/self/fd"))
        armed = psi.trigger("/proc/pressure/memory", 150_000, print)
        assert armed is not None
        await asyncio.sleep(0)
        armed.close()
        armed.close()
        return len(os.listdir("/proc/self/fd")) == before

    assert asyncio.run(life())


THRASH = """\
import os, sys, time
with open(sys.argv[1] + "/cgroup.procs", "w") as group:
    group.write(str(os.getpid()))
file, part = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT), os.urandom(1 << 20)
while True:
    for at in range(60):
        os.pwrite(file, part, at << 20)
    for at in range(60):
        os.pread(file, 1 << 20, at << 20)
"""


@pytest.mark.root
def test_the_kernel_calls_when_a_full_group_makes_its_tasks_wait(
    tmp_path: Path, require: Callable[[str], None]
) -> None:
    async def life() -> None:
        called = asyncio.Event()
        armed = psi.trigger("/proc/pressure/memory", 20_000, called.set)
        require("" if armed else "no pressure trigger here")
        assert armed is not None
        try:
            await asyncio.wait_for(called.wait(), 60)
        finally:
            armed.close()

    with limited_group(24 * MIB, require) as group:
        thrashing = subprocess.Popen([sys.executable, "-c", THRASH, str(group), str(tmp_path / "file")])
        try:
            asyncio.run(life())
        finally:
            thrashing.kill()
            thrashing.wait()
