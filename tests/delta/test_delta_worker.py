"""The apply worker as the agent starts it: a real process, killed, starved, confined and measured."""

import asyncio
import errno
import lzma
import os
import signal
import subprocess
import sys

import pytest
from delta_parts import GIB, delta_of, firmware, opened, rebuilt, write_big_delta

from edgesync.delta import format as esd1
from edgesync.delta import make, request
from edgesync.delta.format import SEGMENT
from edgesync.delta.full import DICTIONARY, make_full
from edgesync.host import worker
from edgesync.wire.errors import (
    BaseModifiedError,
    DeltaCorruptError,
    DiskFullError,
    ResultMismatchError,
    UnknownFormatError,
    WorkerDiedError,
)
from edgesync.wire.ids import digest_of

RESIDENT_LIMIT = 64 << 20


@pytest.fixture
def slot(tmp_path):
    """base, blob and target as files, and what is wanted."""
    old = firmware(11, SEGMENT + 5000)
    new = rebuilt(12, old)
    (tmp_path / "base").write_bytes(old)
    (tmp_path / "blob").write_bytes(delta_of(old, new))
    (tmp_path / "target").touch()
    return tmp_path, old, new


async def run(directory, kind, *, on_progress=None, **wanted):
    with opened(directory / "base") as base, opened(directory / "blob") as blob, opened(directory / "target") as target:
        await request.apply(
            kind,
            target=target,
            base=None if kind == "full" else base,
            blob=None if kind == "copy" else blob,
            on_progress=on_progress,
            **wanted,
        )


def of(image, base=None):
    wanted = {"length": len(image), "sha256": digest_of(image)}
    return wanted | {"base_sha256": digest_of(base)} if base is not None else wanted


class Watch:
    """Follows a worker by its progress: how far it is, its process, and the most memory it ever had."""

    def __init__(self, stop_at=None):
        self.steps, self.peak, self.threads, self.stop_at = [], 0, 0, stop_at

    def __call__(self, done, total):
        self.steps.append((done, total))
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and self._is_ours(pid)]
        for pid in pids:
            with open(f"/proc/{pid}/status") as file:
                status = dict(line.split(":", 1) for line in file)
            if "VmHWM" in status:  # a process that has just ended has no memory left
                self.peak = max(self.peak, int(status["VmHWM"].split()[0]) * 1024)
                self.threads = max(self.threads, int(status["Threads"]))
            if self.stop_at is not None and done >= self.stop_at:
                os.kill(int(pid), signal.SIGKILL)

    @staticmethod
    def _is_ours(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{pid}/cmdline") as file:
                return parent == os.getpid() and request.MODULE in file.read()
        except (FileNotFoundError, ProcessLookupError):
            return False


def test_a_delta_becomes_the_image(slot):
    directory, old, new = slot
    watch = Watch()
    asyncio.run(run(directory, "delta", on_progress=watch, **of(new, old)))
    assert (directory / "target").read_bytes() == new
    assert watch.steps == sorted(watch.steps)
    assert watch.steps[-1] == (len(old) + 2 * len(new),) * 2
    assert watch.threads == 1


def test_a_full_image_becomes_the_image(slot):
    directory, _, new = slot
    (directory / "image").write_bytes(new)
    make_full(str(directory / "image"), str(directory / "blob"))
    asyncio.run(run(directory, "full", **of(new)))
    assert (directory / "target").read_bytes() == new


def test_a_component_that_does_not_change_is_carried_over(slot):
    directory, old, _ = slot
    asyncio.run(run(directory, "copy", **of(old)))
    assert (directory / "target").read_bytes() == old


def test_a_worker_that_is_killed_anywhere_goes_on_where_it_was(slot):
    directory, _, _ = slot
    old = firmware(13, 4 * SEGMENT)
    new = rebuilt(14, old)
    blob = bytearray(delta_of(old, new))
    (directory / "base").write_bytes(old)
    (directory / "blob").write_bytes(blob)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        asyncio.run(run(directory, "delta", on_progress=Watch(len(old) + 2 * SEGMENT), **of(new, old)))
    assert (directory / "target").read_bytes()[: 2 * SEGMENT] == new[: 2 * SEGMENT]
    # Were the first segment unpacked again, this would be found.
    blob[esd1.HEADER_SIZE + esd1.SEGMENT_HEADER_SIZE + 9] ^= 1
    (directory / "blob").write_bytes(blob)
    asyncio.run(run(directory, "delta", **of(new, old)))
    assert (directory / "target").read_bytes() == new


def test_each_failure_arrives_under_its_name(slot):
    directory, old, new = slot
    blob = (directory / "blob").read_bytes()
    wrong = digest_of(b"wrong")

    def expect(kind, op, data, **wanted):
        (directory / "blob").write_bytes(data)
        with pytest.raises(kind):
            asyncio.run(run(directory, op, **wanted))

    (directory / "base").write_bytes(old[:-1] + b"!")
    expect(BaseModifiedError, "delta", blob, **of(new, old))
    expect(BaseModifiedError, "copy", b"", **of(old))
    (directory / "base").write_bytes(old)
    expect(UnknownFormatError, "delta", b"esd2" + blob[4:], **of(new, old))
    expect(DeltaCorruptError, "delta", blob[:-1], **of(new, old))
    expect(DeltaCorruptError, "full", blob, **of(new))
    header = esd1.Header(len(old), digest_of(old), len(new), wrong).encode()
    expect(ResultMismatchError, "delta", header + blob[len(header) :], **of(new, old) | {"sha256": wrong})


def test_a_file_that_may_not_grow_is_a_full_disk(slot):
    directory, old, new = slot
    limits = worker.Limits(stall=30, memory=request.ADDRESS_SPACE, file_size=SEGMENT)
    with opened(directory / "base") as base, opened(directory / "blob") as blob, opened(directory / "target") as target:
        fds = {"base": base, "blob": blob, "target": target}
        with pytest.raises(DiskFullError, match="target slot"):
            asyncio.run(worker.run(request.MODULE, {"op": "delta", **of(new, old)}, fds, limits))


@pytest.mark.root
def test_a_disk_without_room_is_a_full_disk_and_room_heals_it(slot):
    directory, old, new = slot
    mount = directory / "small"
    mount.mkdir()
    script = f"""
import asyncio, os, subprocess, sys
sys.path[:0] = {sys.path!r}
from test_delta_worker import of, run
from edgesync.wire.errors import DiskFullError
from pathlib import Path
directory, new = Path({str(directory)!r}), Path({str(directory / "new")!r}).read_bytes()
(directory / "target").unlink()
(directory / "target").symlink_to({str(mount / "target")!r})
(directory / "target").touch()
wanted = of(new, (directory / "base").read_bytes())
try:
    asyncio.run(run(directory, "delta", **wanted))
except DiskFullError as error:
    assert os.strerror({errno.ENOSPC}) in str(error), error
else:
    raise SystemExit("it had room")
subprocess.run(["mount", "-o", "remount,size=8m", {str(mount)!r}], check=True)
asyncio.run(run(directory, "delta", **wanted))
assert (directory / "target").read_bytes() == new
"""
    (directory / "new").write_bytes(new)
    shell = f'mount -t tmpfs -o size=1m none "{mount}" && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert old != new


def test_asking_for_an_apply_brings_no_numpy_into_the_agent():
    code = "import sys, edgesync.delta.request; print(sorted({'numpy', 'lzma', 'bsdiff4'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_server_side_alone_needs_bsdiff4():
    code = "import sys, edgesync.delta.apply; print('bsdiff4' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    assert make.ALIGN_LIMIT < esd1.LENGTH_LIMIT


@pytest.mark.parametrize("length", [15_000_000 // SEGMENT * SEGMENT, GIB], ids=["15 MB", "1 GiB"])
def test_a_worker_stays_below_64_mib_for_an_image_of(tmp_path, length):
    base, result = write_big_delta(tmp_path, length)
    (tmp_path / "target").touch()
    watch = Watch()
    asyncio.run(run(tmp_path, "delta", on_progress=watch, length=length, sha256=result, base_sha256=base))
    print(f"peak {watch.peak / 1e6:.1f} MB")
    assert 20 << 20 < watch.peak < RESIDENT_LIMIT
    assert (tmp_path / "target").stat().st_size == length


def test_a_full_image_that_fills_the_dictionary_stays_below_64_mib(tmp_path):
    image = firmware(15, 1 << 20) * 20 + os.urandom(4 << 20)
    quick = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": DICTIONARY}]
    (tmp_path / "blob").write_bytes(lzma.compress(image, format=lzma.FORMAT_XZ, filters=quick))
    for name in ("base", "target"):
        (tmp_path / name).touch()
    watch = Watch()
    asyncio.run(run(tmp_path, "full", on_progress=watch, **of(image)))
    print(f"peak {watch.peak / 1e6:.1f} MB")
    assert DICTIONARY < watch.peak < RESIDENT_LIMIT
