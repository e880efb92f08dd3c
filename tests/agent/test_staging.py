"""Staged pieces on a real disk: cut off at each write, rotten, foreign, and with no room left."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.agent import staging as module
from edgesync.agent.staging import Staged, Staging
from edgesync.wire import blob as layout
from edgesync.wire.blob import PIECE, PIECES_PER_LEAF, BlobIndex
from edgesync.wire.errors import BlobCorruptError, DiskFullError, EdgesyncError, StorageError
from edgesync.wire.ids import BlobId

DATA = random.Random(5).randbytes(4 * PIECE + 1000)
PIECES = [DATA[at : at + PIECE] for at in range(0, len(DATA), PIECE)]
INDEX, LEAVES = layout.build(PIECES, len(DATA))
BLOB = INDEX.blob


def keep(staging: Staging, number: int) -> None:
    staging.keep_piece(BLOB, number * PIECE, PIECES[number])


def staged(state: Path, pieces: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Staging:
    """A blob of which these pieces are there."""
    staging = Staging(str(state))
    staging.open(BLOB, len(DATA))
    staging.keep_index(BLOB, INDEX.encode(), LEAVES)
    for number in pieces:
        keep(staging, number)
    return staging


def reopened(state: Path) -> Staged:
    return Staging(str(state)).open(BLOB, len(DATA))


def part(state: Path) -> Path:
    return state / "blobs" / f"{BLOB}.part"


def stored(state: Path) -> Path:
    return state / "blobs" / f"{BLOB}.index"


def test_a_new_blob_has_its_room_and_nothing_else(tmp_path: Path) -> None:
    assert Staging(str(tmp_path)).open(BLOB, len(DATA)) == Staged()
    status = part(tmp_path).stat()
    assert status.st_size == len(DATA)
    assert status.st_blocks * 512 >= len(DATA), "the room is taken, not promised"
    assert status.st_mode & 0o077 == 0


@settings(max_examples=20)  # each writes to a real disk and waits for it
@given(st.sets(st.integers(0, 4)).map(lambda numbers: tuple(sorted(numbers))))
def test_a_new_life_finds_the_pieces_that_were_kept_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, pieces: tuple[int, ...]
) -> None:
    state = tmp_path_factory.mktemp("state")
    staged(state, pieces)
    assert reopened(state) == Staged(INDEX, {0: LEAVES[0]}, pieces)


def test_a_blob_that_is_there_whole_is_read_byte_for_byte(tmp_path: Path) -> None:
    fd = staged(tmp_path).open_blob(BLOB)
    try:
        assert os.read(fd, len(DATA) + 1) == DATA
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
    finally:
        os.close(fd)


@settings(max_examples=20)  # each writes to a real disk and waits for it
@given(st.data())
def test_rot_anywhere_costs_the_piece_that_it_hit_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    state = tmp_path_factory.mktemp("state")
    staging = staged(state)
    rotten = data.draw(st.sets(st.integers(0, len(DATA) - 1), min_size=1, max_size=3))
    with part(state).open("r+b") as file:
        for at in rotten:
            file.seek(at)
            file.write(bytes([DATA[at] ^ 0x10]))
    lost = {at // PIECE for at in rotten}
    assert set(reopened(state).have) == {0, 1, 2, 3, 4} - lost
    for number in lost:
        keep(staging, number)
    assert reopened(state).have == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("size", [0, 1, PIECE + 5, len(DATA) - 1, len(DATA) + 1, 2 * len(DATA)])
def test_a_file_of_another_length_keeps_what_is_right_in_it(tmp_path: Path, size: int) -> None:
    staged(tmp_path)
    os.truncate(part(tmp_path), size)
    whole = 5 if size >= len(DATA) else size // PIECE
    assert reopened(tmp_path).have == tuple(range(whole))
    assert part(tmp_path).stat().st_size == len(DATA)


OTHER = layout.build([b"another blob"], 12)[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"esb1",
        INDEX.encode()[:-1],
        INDEX.encode() + LEAVES[0][:-1],
        INDEX.encode() + LEAVES[0] + b"x",
        OTHER.encode(),
        bytes([INDEX.encode()[0] ^ 1]) + INDEX.encode()[1:] + LEAVES[0],
        bytes(1 << 20),
    ],
)
def test_an_index_that_is_spoilt_or_of_another_blob_is_fetched_again(tmp_path: Path, content: bytes) -> None:
    staging = staged(tmp_path)
    stored(tmp_path).write_bytes(content)
    assert reopened(tmp_path) == Staged()
    staging.keep_index(BLOB, INDEX.encode(), LEAVES)
    assert reopened(tmp_path).have == (0, 1, 2, 3, 4), "the pieces were there all the time"


def test_an_index_without_its_leaf_is_kept(tmp_path: Path) -> None:
    staging = staged(tmp_path, (0,))
    staging.keep_index(BLOB, INDEX.encode(), [])
    assert reopened(tmp_path) == Staged(INDEX)


def test_an_index_of_another_length_than_the_signed_one_is_no_proof(tmp_path: Path) -> None:
    staged(tmp_path)
    assert Staging(str(tmp_path)).open(BLOB, len(DATA) - 1) == Staged()


def test_a_bad_block_of_the_disk_costs_its_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged(tmp_path)
    pread = os.pread

    def bad_block(fd: int, size: int, offset: int) -> bytes:
        if offset <= 2 * PIECE < offset + size:
            raise OSError(errno.EIO, "Input/output error")
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", bad_block)
    assert reopened(tmp_path).have == (0, 1, 3, 4)


# --- cut off -----------------------------------------------------------------------------------------------------

CALLS = ["open", "pwrite", "write", "fdatasync", "fsync", "close", "replace", "ftruncate", "posix_fallocate", "fstat"]


class Broken(pytest.MonkeyPatch):
    """The nth call of one function of `os` fails; `hit` says whether it came to that."""

    def __init__(self, call: str, nth: int, code: int) -> None:
        super().__init__()
        self.hit, real, count = False, getattr(os, call), [0]

        def failing(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] != nth:
                return real(*args, **options)
            self.hit = True
            if call == "close":
                real(*args)
            elif call in ("pwrite", "write"):
                real(args[0], args[1][: len(args[1]) // 2], *args[2:])  # torn
            raise OSError(code, os.strerror(code))

        self.setattr(os, call, failing)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", CALLS)
def test_a_fetch_that_fails_at_any_call_ends_by_name_and_goes_on_from_what_is_right(
    tmp_path: Path, call: str, code: int
) -> None:
    for nth in range(1, 9):
        state = tmp_path / str(nth)
        staging, done = Staging(str(state)), []
        broken = Broken(call, nth, code)
        failed: EdgesyncError | None = None
        try:
            staging.open(BLOB, len(DATA))
            staging.keep_index(BLOB, INDEX.encode(), LEAVES)
            for number in range(len(PIECES)):
                keep(staging, number)
                done.append(number)
        except EdgesyncError as error:
            failed = error
        finally:
            broken.undo()
        if not broken.hit:
            assert nth > 1 or call not in ("open", "pwrite", "fdatasync")
            return
        assert type(failed) is (DiskFullError if code == errno.ENOSPC else StorageError)
        assert str(state) in str(failed)
        found = reopened(state)
        assert set(done) <= set(found.have), "what was kept is there"
        for number in found.have:
            assert part(state).read_bytes()[number * PIECE :][:PIECE] == PIECES[number]
        staged(state, tuple(n for n in range(len(PIECES)) if n not in found.have))
        assert reopened(state).have == (0, 1, 2, 3, 4)
        assert part(state).read_bytes() == DATA


def test_a_disk_that_writes_a_few_bytes_at_a_time_keeps_whole_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1000], offset))
    staged(tmp_path)
    assert part(tmp_path).read_bytes() == DATA


def test_a_blob_that_someone_removed_in_the_middle_is_a_storage_error(tmp_path: Path) -> None:
    staging = staged(tmp_path, (0,))
    part(tmp_path).unlink()
    with pytest.raises(StorageError, match=BLOB):
        keep(staging, 1)
    with pytest.raises(StorageError, match=BLOB):
        staging.open_blob(BLOB)
    assert reopened(tmp_path).have == ()


def test_no_failure_leaks_a_descriptor(tmp_path: Path) -> None:
    staging = staged(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for call in ("pwrite", "fdatasync", "posix_fallocate", "fstat"):
        broken = Broken(call, 1, errno.EIO)
        step = partial(keep, staging, 0) if "w" in call or "sync" in call else partial(staging.open, BLOB, len(DATA))
        with pytest.raises(StorageError):
            step()
        broken.undo()
    assert len(os.listdir("/proc/self/fd")) == before


# --- room --------------------------------------------------------------------------------------------------------


def test_a_blob_that_does_not_fit_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    with pytest.raises(DiskFullError, match=r"need \d+ more, \d+ are free"):
        Staging(str(tmp_path)).open(BLOB, free.f_bavail * free.f_frsize + 1)
    with pytest.raises(DiskFullError):
        Staging(str(tmp_path)).open(BLOB, (1 << 53) - 1)
    assert part(tmp_path).stat().st_blocks == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.root
def test_a_full_disk_is_told_and_the_fetch_goes_on_when_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes((2 << 20) - module.RESERVE - 4096))
    staging = Staging(str(small_disk))
    with pytest.raises(DiskFullError):
        staging.open(BLOB, len(DATA))
    filler.unlink()
    staged(small_disk, (0, 1))
    filler.write_bytes(bytes((2 << 20) - os.stat(part(small_disk)).st_blocks * 512 - 16384))
    assert reopened(small_disk).have == (0, 1), "room that is taken already is not asked for again"
    keep(staging, 2)
    assert reopened(small_disk).have == (0, 1, 2)


# --- what is forgotten -------------------------------------------------------------------------------------------


def test_every_blob_but_the_wanted_one_is_forgotten_and_what_is_half_written_too(tmp_path: Path) -> None:
    staging = staged(tmp_path)
    staging.open(OTHER.blob, OTHER.length)
    staging.keep_index(OTHER.blob, OTHER.encode(), [])
    (tmp_path / "blobs" / f"{OTHER.blob}.index.tmp").write_bytes(b"cut off")
    staging.forget(BLOB)
    assert sorted(os.listdir(tmp_path / "blobs")) == [f"{BLOB}.index", f"{BLOB}.part"]
    staging.forget(None)
    assert os.listdir(tmp_path / "blobs") == []


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/state"):
        Staging(str(tmp_path / "file" / "state"))


# --- index and leaves in one file --------------------------------------------------------------------------------


def large(hashes: list[bytes]) -> tuple[BlobIndex, list[bytes]]:
    """Index and leaves of a blob whose pieces have these hashes."""
    leaves = [b"".join(hashes[at : at + PIECES_PER_LEAF]) for at in range(0, len(hashes), PIECES_PER_LEAF)]
    return BlobIndex(len(hashes) * PIECE, PIECE, layout.BLOCK, tuple(map(layout.short_hash, leaves))), leaves


@given(st.integers(1, 3 * PIECES_PER_LEAF), st.data())
def test_the_leaves_that_are_stored_are_found_in_their_places(pieces: int, data: st.DataObject) -> None:
    index, leaves = large([b"%016d" % number for number in range(pieces)])
    known = data.draw(st.sets(st.sampled_from(range(len(leaves)))))
    content = index.encode() + b"".join(leaves[n] for n in sorted(known))
    assert module.parse_stored(index.blob, content) == (index, {n: leaves[n] for n in known})
    assert len(content) <= module.stored_limit(index.length)


def test_leaves_that_are_equal_are_each_found(tmp_path: Path) -> None:
    """A blob that repeats itself over 8 MiB: its leaves have one hash."""
    index, leaves = large([bytes(16)] * 3 * PIECES_PER_LEAF)
    found = module.parse_stored(index.blob, index.encode() + b"".join(leaves))
    assert found == (index, dict(enumerate(leaves)))


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda data: INDEX.encode() + data))
def test_any_bytes_are_index_and_leaves_or_a_named_error(content: bytes) -> None:
    blob = BlobId(layout.short_hash(content[: layout.index_size(content)]).hex())
    try:
        index, leaves = module.parse_stored(blob, content)
    except EdgesyncError:
        return
    assert index.blob == blob
    assert index.encode() + b"".join(leaves[n] for n in sorted(leaves)) == content


def test_bytes_behind_the_index_that_are_no_leaf_are_corrupt() -> None:
    with pytest.raises(BlobCorruptError, match=BLOB):
        module.parse_stored(BLOB, INDEX.encode() + LEAVES[0] + b"more")
