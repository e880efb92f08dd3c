"""The apply worker as the agent starts it: a real process, killed, starved, confined and measured."""

import asyncio
import errno
import lzma
import os
import subprocess
import sys

import numpy as np
import pytest
from delta_parts import GIB, delta_of, firmware, opened, rebuilt, streams_of, write_big_delta

from edgesync.delta import btf_records, chapter, request
from edgesync.delta import format as esd4
from edgesync.delta.addresses import NO_TABLES
from edgesync.delta.btf import Derivation, Order
from edgesync.delta.btf_records import HEADER
from edgesync.delta.copies import Copies
from edgesync.delta.format import DERIVED_LIMIT, SEGMENT, derived_at
from edgesync.delta.full import DICTIONARY, make_full
from edgesync.delta.switch import VARIABLE
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


DYING = """
import os, signal
pwrite, left = os.pwrite, int(open({here!r} + "/left").read())

def dying(fd, data, at):
    global left
    left -= 1
    if left < 0:
        pwrite(fd, data[: len(data) // 2], at)
        os.kill(os.getpid(), signal.SIGKILL)
    return pwrite(fd, data, at)

os.pwrite = dying
from edgesync.delta.worker import main
main()
"""

MEASURED = """
from edgesync.delta.worker import main
from edgesync.host import worker
say = worker._say

def measuring(message):
    if "reply" in message:
        with open({here!r} + "/status", "w") as file:
            file.write(open("/proc/self/status").read())
    say(message)

worker._say = measuring
main()
"""


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Let a few lines around the worker's own `main` run in its place."""

    def use(script):
        (tmp_path / "played_worker.py").write_text(script.format(here=str(tmp_path)))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
        monkeypatch.setattr(request, "MODULE", "played_worker")

    yield use
    monkeypatch.undo()


def status(directory):
    """Peak resident bytes and threads of a worker that ran as MEASURED."""
    lines = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024, int(lines["Threads"])


def test_a_delta_becomes_the_image(slot):
    directory, old, new = slot
    steps = []
    asyncio.run(run(directory, "delta", on_progress=lambda *step: steps.append(step), **of(new, old)))
    assert (directory / "target").read_bytes() == new
    assert steps == sorted(steps)
    assert steps[-1] == (len(old) + 2 * len(new),) * 2


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


@pytest.mark.parametrize("writes", range(4))
def test_a_worker_that_is_killed_in_any_write_goes_on_where_it_was(slot, play, monkeypatch, writes):
    directory, _, _ = slot
    old = np.random.default_rng(13).bytes(4 * SEGMENT)
    new = b"".join(old[at : at + SEGMENT - 8] + b"%8d" % at for at in range(0, 4 * SEGMENT, SEGMENT))
    whole = Copies(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([len(new)]))
    blob = bytearray(delta_of(old, new, whole))
    (directory / "base").write_bytes(old)
    (directory / "blob").write_bytes(blob)
    (directory / "left").write_text(str(writes))
    play(DYING)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        asyncio.run(run(directory, "delta", **of(new, old)))
    monkeypatch.undo()
    assert (directory / "target").read_bytes()[: writes * SEGMENT] == new[: writes * SEGMENT]
    if writes:  # were the first segment unpacked again, this would be found
        blob[streams_of(blob, 0) + 9] ^= 1
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
    expect(UnknownFormatError, "delta", b"esd1" + blob[4:], **of(new, old))
    expect(DeltaCorruptError, "delta", blob[:-1], **of(new, old))
    expect(DeltaCorruptError, "full", blob, **of(new))
    header = esd4.header_of(len(old), digest_of(old), len(new), wrong).encode()
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


SMALL = 15_000_000 // SEGMENT * SEGMENT


@pytest.mark.parametrize(
    ("length", "how"),
    [
        pytest.param(SMALL, "", id="15 MB"),
        pytest.param(GIB, "", id="1 GiB"),
        pytest.param(SMALL, "plain", id="15 MB without numpy"),
        pytest.param(SMALL, "mixing", id="15 MB, mixed", marks=pytest.mark.mixing),
        pytest.param(SMALL, "plain mixing", id="15 MB, mixed, without numpy", marks=pytest.mark.mixing),
    ],
)
def test_a_worker_stays_below_64_mib_for_an_image_of(tmp_path, play, monkeypatch, length, how):
    monkeypatch.setenv(VARIABLE, "1" if "plain" in how else "")
    base, result = write_big_delta(tmp_path, length, mixing="mixing" in how)
    (tmp_path / "target").touch()
    play(MEASURED)
    asyncio.run(run(tmp_path, "delta", length=length, sha256=result, base_sha256=base))
    peak, threads = status(tmp_path)
    print(f"peak {peak / 1e6:.1f} MB")
    assert 20 << 20 < peak < RESIDENT_LIMIT
    assert threads == 1
    assert (tmp_path / "target").stat().st_size == length


def test_a_worker_that_derives_the_largest_type_information_stays_below_64_mib(tmp_path, play):
    text = bytes(btf_records.STRINGS_LIMIT - 1)  # as many names as may be, and as many types as fit beside them
    types = np.zeros(((DERIVED_LIMIT - HEADER.size - len(text)) // 12, 3), "<u4")
    types[:, 1] = btf_records.CONST << 24
    body = types.tobytes()
    old = HEADER.pack(btf_records.MAGIC, 1, 0, HEADER.size, 0, len(body), len(body), len(text)) + body + text
    row = np.zeros(1, np.int64)
    orders = [Order(row, row + first, row + count) for first, count in ((1, len(types)), (0, len(text)))]
    how = Derivation(0, len(old), len(old), orders[0], b"", orders[1], b"")
    copies = Copies(row, row + derived_at(len(old)), row + len(old))
    blob = esd4.header_of(len(old), digest_of(old), len(old), digest_of(old)).encode()
    segments = [b""] * -(-len(old) // SEGMENT)
    blob += chapter.encode(chapter.Chapter(copies, NO_TABLES, how), 0, segments, (len(old), len(old)))
    for name, data in (("base", old), ("blob", blob), ("target", b"")):
        (tmp_path / name).write_bytes(data)
    play(MEASURED)
    asyncio.run(run(tmp_path, "delta", **of(old, old)))
    peak, _ = status(tmp_path)
    print(f"peak {peak / 1e6:.1f} MB")
    assert peak < RESIDENT_LIMIT


def test_a_full_image_that_fills_the_dictionary_stays_below_64_mib(tmp_path, play):
    image = np.random.default_rng(15).bytes(1 << 20) * 18
    quick = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": DICTIONARY}]
    (tmp_path / "blob").write_bytes(lzma.compress(image, format=lzma.FORMAT_XZ, filters=quick))
    for name in ("base", "target"):
        (tmp_path / name).touch()
    play(MEASURED)
    asyncio.run(run(tmp_path, "full", **of(image)))
    peak, _ = status(tmp_path)
    print(f"peak {peak / 1e6:.1f} MB")
    assert DICTIONARY < peak < RESIDENT_LIMIT
