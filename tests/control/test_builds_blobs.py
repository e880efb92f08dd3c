"""Blobs made by real children, kept by content, and what happens when one goes wrong."""

from __future__ import annotations

import asyncio
import lzma
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import serverlab

from edgesync.control.builds import Builds
from edgesync.control.planner import BlobKey
from edgesync.delta.pair import WHOLE
from edgesync.wire.blob import PIECE, parse_index, short_hash
from edgesync.wire.errors import BlobCorruptError, BuildFailedError, EdgesyncError, StorageError
from edgesync.wire.ids import BlobId, Digest, digest_of


@pytest.fixture
def images(tmp_path: Path) -> dict[Digest, Path]:
    found = {}
    for number, data in enumerate(serverlab.images(2)):
        path = tmp_path / f"{number}.img"
        path.write_bytes(data)
        found[digest_of(data)] = path
    return found


def children() -> set[str]:
    """Processes that we started and that still run."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_delta_and_a_full_image_are_kept_under_the_id_of_their_index(
    tmp_path: Path, images: dict[Digest, Path]
) -> None:
    old, new = images

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        told = []
        for key in (BlobKey(new, old), BlobKey(new)):
            built = await builds.make(key, lambda *what: told.append(what))
            again = await builds.make(key)
            assert again == built
            files = builds.verify(built.blob)
            data = files.path.read_bytes()
            assert (len(data), files.index.length, files.index.blob) == (built.length, built.length, built.blob)
            if files.index.lone:
                assert files.index.lone == data
            else:
                assert short_hash(files.piece(0)) == files.leaves[0][:16]
                assert b"".join(files.piece(n) for n in range(files.index.pieces)) == data
            side = (tmp_path / "blobs" / f"{built.blob}.index").read_bytes()
            assert parse_index(built.blob, side[: len(files.index.encode())]) == files.index
            assert side == files.index.encode() + b"".join(files.leaves)
            assert files.path.stat().st_mode & 0o777 == 0o644
        assert lzma.decompress(data) == images[new].read_bytes()
        assert told
        assert len(builds.kept()) == 2
        assert list((tmp_path / "blobs/making").iterdir()) == []

    asyncio.run(flow())


def test_every_flipped_bit_and_a_cut_are_found_before_a_blob_is_published(
    tmp_path: Path, images: dict[Digest, Path]
) -> None:
    _, new = images

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        built = await builds.make(BlobKey(new))
        path = tmp_path / "blobs" / built.blob
        whole = path.read_bytes()
        for at in (0, PIECE - 1, PIECE, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(BlobCorruptError):
                builds.verify(built.blob)
        path.write_bytes(whole[:-1])
        with pytest.raises(BlobCorruptError):
            builds.verify(built.blob)
        path.write_bytes(whole)
        side = tmp_path / "blobs" / f"{built.blob}.index"
        side.write_bytes(side.read_bytes()[:-1])
        with pytest.raises(EdgesyncError):
            builds.verify(built.blob)
        builds.remove(built.blob)
        builds.remove(built.blob)
        assert builds.kept() == frozenset()
        with pytest.raises(StorageError):
            builds.open(built.blob)

    asyncio.run(flow())


def test_a_build_that_cannot_be_made_says_why(tmp_path: Path, images: dict[Digest, Path]) -> None:
    old, new = images

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        with pytest.raises(BuildFailedError, match="not in the image store"):
            await builds.make(BlobKey(digest_of(b"unknown"), old))
        images[new].unlink()
        with pytest.raises(BuildFailedError, match=r"1\.img"):
            await builds.make(BlobKey(new, old))
        assert list((tmp_path / "blobs/making").iterdir()) == []

    asyncio.run(flow())


def test_cancelling_kills_the_child_and_leaves_nothing(tmp_path: Path, images: dict[Digest, Path]) -> None:
    old, new = images

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        before = children()
        task = asyncio.ensure_future(builds.make(BlobKey(new, old)))
        while not children() - before:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() <= before
        assert list((tmp_path / "blobs/making").iterdir()) == []

    asyncio.run(flow())


def test_cancelling_leaves_no_process_and_no_file_of_a_long_delta(
    tmp_path: Path, images: dict[Digest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = images
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(EVERYTHING_IS_LONG)

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        phases: list[str] = []
        task = asyncio.ensure_future(builds.make(BlobKey(new, old), lambda phase, *_: phases.append(phase)))
        while "align" not in phases:
            await asyncio.sleep(0.01)
        started = {process for child in children() for process in descendants(child)}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(started) >= 2
        until = time.monotonic() + 10
        while any(map(runs, started)) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        assert not any(map(runs, started))
        assert list((tmp_path / "blobs/making").iterdir()) == []

    asyncio.run(flow())


def test_of_long_deltas_one_is_made_at_a_time_and_short_ones_beside_it(
    tmp_path: Path, images: dict[Digest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = images
    long = tmp_path / "long.img"
    long.touch()
    os.truncate(long, WHOLE + 1)
    stored = {**images, digest_of(b"long"): long}
    running: list[str] = []
    seen: list[list[str]] = []

    async def run(_module: str, arguments: list[str], what: str, _progress: object) -> None:
        running.append(what)
        seen.append(sorted(running))
        await asyncio.sleep(0.02)
        running.remove(what)
        Path(arguments[-1]).write_bytes(arguments[-1].encode())

    monkeypatch.setattr("edgesync.control.builds._run", run)

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", stored.get)
        heavy, light = BlobKey(digest_of(b"long"), old), BlobKey(new, old)
        await asyncio.gather(*(builds.make(key) for key in (heavy, heavy, heavy, light, light)))
        assert all(now.count(str(heavy)) <= 1 for now in seen)
        assert sorted((str(heavy), str(light))) in seen
        assert max(map(len, seen)) == 2

    asyncio.run(flow())


def test_only_a_mixed_delta_is_asked_for_with_its_coder(
    tmp_path: Path, images: dict[Digest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = images
    asked = []

    async def run(module: str, arguments: list[str], _what: str, _progress: object) -> None:
        asked.append((module.rpartition(".")[2], arguments[:-1]))
        Path(arguments[-1]).write_bytes(b"made")

    monkeypatch.setattr("edgesync.control.builds._run", run)

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        for key in (BlobKey(new, old), BlobKey(new, old, mixed=True), BlobKey(new)):
            await builds.make(key)

    asyncio.run(flow())
    paths = [str(images[old]), str(images[new])]
    assert asked == [("make", paths), ("make", ["--mixing", *paths]), ("full", paths[1:])]


def test_deltas_of_another_format_are_forgotten_at_start(tmp_path: Path, images: dict[Digest, Path]) -> None:
    old, new = images

    async def flow() -> None:
        builds = Builds(tmp_path / "blobs", images.get)
        delta, full = [(await builds.make(key)).blob for key in (BlobKey(new, old), BlobKey(new))]
        assert Builds(tmp_path / "blobs", images.get).kept() == {delta, full}
        path = tmp_path / "blobs" / delta
        path.write_bytes(b"esd1" + path.read_bytes()[4:])
        assert Builds(tmp_path / "blobs", images.get).kept() == {full}
        assert not path.exists()

    asyncio.run(flow())


EVERYTHING_IS_LONG = """
from edgesync.delta import crew, pair
pair.WHOLE = crew.ALONE = 0
"""


def descendants(process: str) -> set[str]:
    """A process and all that it has started."""
    try:
        below = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return {process}
    return {process}.union(*map(descendants, below))


def runs(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SERVER = """
import os, subprocess, sys, time
command = [sys.executable, "-m", "edgesync.host.child", str(os.getpid()), "http.server", "--bind", "127.0.0.1", "0"]
print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


def test_a_build_dies_with_a_server_that_is_killed() -> None:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        child = Path(f"/proc/{int(server.stdout.readline())}")
        while b"http.server" not in (child / "cmdline").read_bytes():
            time.sleep(0.01)
        time.sleep(0.5)
        assert child.exists()
        server.kill()
        server.wait()
        until = time.monotonic() + 10
        while child.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]


def test_what_a_killed_server_left_unfinished_is_swept_at_start_and_blobs_stay(tmp_path: Path) -> None:
    making = tmp_path / "blobs/making"
    making.mkdir(parents=True)
    (making / "half").write_bytes(b"x")
    (tmp_path / "blobs" / ("ab" * 16 + ".index")).write_bytes(b"x")
    builds = Builds(tmp_path / "blobs", lambda _digest: None)
    assert list(making.iterdir()) == []
    assert builds.kept() == {BlobId("ab" * 16)}
