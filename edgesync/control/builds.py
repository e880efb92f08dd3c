"""Blobs on the server's disk: made once in child processes, kept by content, checked before they are published again.

    <directory>/<blob id>          the bytes
    <directory>/<blob id>.index    the index, then its leaves
    <directory>/making/            what is not finished; emptied at start

Any static HTTP server can serve the directory as the fleet's `http_source`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesync.control.planner import BlobKey, Built
from edgesync.delta.format import MAGIC
from edgesync.delta.pair import WHOLE
from edgesync.host.files import fsync_dir, read_limited, storage_errors, write_atomic
from edgesync.wire.blob import (
    INDEX_LIMIT,
    LEAF_LIMIT,
    PIECE,
    BlobIndex,
    build,
    index_size,
    parse_index,
    parse_leaf,
    short_hash,
)
from edgesync.wire.errors import BlobCorruptError, BuildFailedError
from edgesync.wire.ids import BlobId, Digest

AT_ONCE = 2
"""Builds that run together, of which one at most is a delta of images that are longer than `delta.pair.WHOLE`: it takes
up to 4 GiB of memory and all cores, the other one up to 1.5 GiB."""
SILENCE = 1800.0
"""Seconds without a line of progress until a build is killed: the alignment of a large image says nothing for long."""
LINE_LIMIT = 64 * 1024
STDERR_LIMIT = 16 * 1024
SIDE_LIMIT = INDEX_LIMIT + INDEX_LIMIT // 16 * LEAF_LIMIT
"""Bytes of the largest file of index and leaves."""

Progress = Callable[[str, int, int], None]
"""Told the phase, and bytes done and in all."""
ImagePath = Callable[[Digest], Path | None]


@dataclass(frozen=True, slots=True)
class BlobFiles:
    """A blob as it lies on disk, its index and leaves in memory (1 KiB for each MiB of blob)."""

    blob: BlobId
    path: Path
    index: BlobIndex
    leaves: tuple[bytes, ...]

    def piece(self, number: int) -> bytes:
        """The bytes of one piece."""
        with storage_errors(str(self.path)), self.path.open("rb") as file:
            return os.pread(file.fileno(), self.index.piece_length(number), number * self.index.piece)


class Builds:
    """Makes blobs. `image_path` finds an image in the store."""

    def __init__(self, directory: Path, image_path: ImagePath) -> None:
        self._directory = directory
        self._making = directory / "making"
        self._image_path = image_path
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._long = asyncio.Semaphore(1)
        with storage_errors(str(directory)):
            shutil.rmtree(self._making, ignore_errors=True)
            self._making.mkdir(parents=True)
            self._forget_other_formats()

    async def make(self, key: BlobKey, progress: Progress | None = None) -> Built:
        """Make a blob and keep it. Cancelling kills the child.

        Raises BuildFailedError with what the child said, StorageError or DiskFullError.
        """
        images = [self._image(digest) for digest in (key.base, key.result) if digest]
        long = key.base and any(map(_is_long, images))
        module = "edgesync.delta.make" if key.base else "edgesync.delta.full"
        switches = ["--mixing"] if key.mixed else []
        out = self._making / uuid.uuid4().hex
        try:
            # A long one that waits for another does not take the place of a short one.
            async with self._long if long else contextlib.nullcontext(), self._slots:
                await _run(module, [*switches, *map(str, images), str(out)], str(key), progress)
                return await asyncio.to_thread(self._keep, out)
        finally:
            for left in (out, out.with_name(f"{out.name}.tmp")):
                left.unlink(missing_ok=True)

    def open(self, blob: BlobId) -> BlobFiles:
        """A kept blob. Raises StorageError if it is not there, BlobCorruptError if its index is not the id's."""
        data = read_limited(str(self._side(blob)), SIDE_LIMIT)
        size = index_size(data)
        index = parse_index(blob, data[:size])
        leaves = []
        for number in range(len(index.leaves)):
            leaf = data[size : size + index.leaf_length(number)]
            parse_leaf(index, number, leaf)
            leaves.append(leaf)
            size += len(leaf)
        return BlobFiles(blob, self._directory / blob, index, tuple(leaves))

    def verify(self, blob: BlobId) -> BlobFiles:
        """The same, and every piece read and compared with its hash."""
        files = self.open(blob)
        hashes = [h for number, leaf in enumerate(files.leaves) for h in parse_leaf(files.index, number, leaf)]
        if files.index.lone and files.path.read_bytes() != files.index.lone:
            raise BlobCorruptError(f"{files.path}: is not what its index file holds; it is made again")
        for number, expected in enumerate(hashes):
            if short_hash(files.piece(number)) != expected:
                raise BlobCorruptError(f"{files.path}: piece {number} does not have its hash; it is made again")
        return files

    def remove(self, blob: BlobId) -> None:
        """Delete a blob; it need not be there. The index goes first: without it the bytes mean nothing."""
        with storage_errors(str(self._directory)):
            self._side(blob).unlink(missing_ok=True)
            (self._directory / blob).unlink(missing_ok=True)

    def kept(self) -> frozenset[BlobId]:
        """Blobs whose index is on disk."""
        return frozenset(BlobId(path.stem) for path in self._directory.glob("*.index"))

    def _forget_other_formats(self) -> None:
        """Deltas of an edgesync that wrote another format are made again when they are needed."""
        for blob in self.kept():
            path = self._directory / blob
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                head = file.read(len(MAGIC))
                if head != MAGIC and head[:3] == MAGIC[:3]:
                    self.remove(blob)

    def _image(self, digest: str) -> Path:
        path = self._image_path(Digest(digest))
        if path is None:
            raise BuildFailedError(f"image {digest} is not in the image store")
        return path

    def _side(self, blob: BlobId) -> Path:
        return self._directory / f"{blob}.index"

    def _keep(self, out: Path) -> Built:
        length = out.stat().st_size
        index, leaves = build(_pieces(out), length)
        with storage_errors(str(self._directory)):
            out.chmod(0o644)
            out.replace(self._directory / index.blob)
            fsync_dir(str(self._directory))
        write_atomic(str(self._side(index.blob)), index.encode() + b"".join(leaves))
        return Built(index.blob, length)


def _is_long(image: Path) -> bool:
    with contextlib.suppress(OSError):  # the child says what is wrong with it
        return image.stat().st_size > WHOLE
    return False


def _pieces(path: Path) -> Iterator[bytes]:
    with storage_errors(str(path)), path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


async def _run(module: str, arguments: list[str], what: str, progress: Progress | None) -> None:
    """Follow one child to its reply. Raises BuildFailedError."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgesync.host.child", str(os.getpid()), module, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    complaint = asyncio.ensure_future(_tail(child.stderr))
    try:
        while line := await asyncio.wait_for(child.stdout.readline(), SILENCE):
            message = json.loads(line)
            if "progress" in message and progress:
                progress(message["phase"], *message["progress"])
            elif "error" in message:
                raise BuildFailedError(f"{what}: {message['error']}: {message['detail']}")
            elif "reply" in message:
                return
        said = (await asyncio.wait_for(complaint, 5.0)).strip().rpartition("\n")[2]
        raise BuildFailedError(f"{what}: the child ended with status {await child.wait()} and no reply: {said}")
    except asyncio.TimeoutError as error:  # the builtin TimeoutError only from Python 3.11 on
        raise BuildFailedError(f"{what}: no progress for {SILENCE:.0f} s; the child was killed") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BuildFailedError(f"{what}: the child's answer is not what it should be: {error!r}") from error
    finally:
        complaint.cancel()
        if child.returncode is None:
            try:
                child.kill()
            except ProcessLookupError:
                pass  # it ended by itself in between
            await child.wait()


async def _tail(stream: asyncio.StreamReader) -> str:
    """The end of what a child says on stderr; all of it is read, so that the child never waits."""
    kept = b""
    while data := await stream.read(4096):
        kept = (kept + data)[-STDERR_LIMIT:]
    return kept.decode(errors="replace")
