"""Deltas from Python: `make`, `apply`, `info` and `verify` on paths of image files or block devices.

The command `edgesync delta` is these four functions with arguments and a progress line. A delta is made in a child
process, which gives its memory back and can be stopped at any moment; it is applied in this one, a segment at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from edgesync.delta import mixing
from edgesync.delta.apply import apply_delta, needs_mixing
from edgesync.delta.child import follow
from edgesync.delta.disk import read_blob, size_of
from edgesync.delta.format import HEADER_LIMIT, Header, parse_header
from edgesync.host.files import fsync_dir, storage_errors
from edgesync.wire.errors import (
    BaseModifiedError,
    ConfigError,
    DeltaCorruptError,
    NotReachableError,
    UnknownFormatError,
)

Path = str | os.PathLike[str]
Progress = Callable[[str, int, int], None]
"""Takes the name of a phase, and how many of how many bytes of it are done."""
Coder = Literal["mixing", "lzma"]
"""What packs a delta: the context-mixing coder, which not every board has, or LZMA alone."""


@dataclass(frozen=True, slots=True)
class Info:
    """A delta: its length in bytes, and of the images on both sides the length in bytes and the first hex digits of
    SHA-256, which is what a delta has of them: 16 of the base, 32 of the result. `segments` is the number of parts of
    the result, of 1 MiB each. `coder` is "mixing" if only boards with the context-mixing coder can apply it.
    """

    length: int
    base_length: int
    base_hash: str
    result_length: int
    result_hash: str
    segments: int
    coder: Coder

    def to_dict(self) -> dict[str, int | str]:
        return dataclasses.asdict(self)


def make(base: Path, result: Path, out: Path, progress: Progress | None = None, *, coder: Coder | None = None) -> Info:
    """Write the delta from the image `base` to the image `result` as the file `out`, and prove it by applying it.

    `coder`: "mixing" makes it smaller, "lzma" is for every board; None is mixing where it is installed. Phases of
    progress: "align", "encode", "verify" and others. Raises ConfigError for an image that is too long, StorageError or
    DiskFullError for files, BuildFailedError when the child dies; NotReachableError without the package bsdiff4, or
    where mixing is asked for and not there. Whatever happens, `out` is a whole delta or what it was before.
    """
    if find_spec("bsdiff4") is None:
        raise NotReachableError("package bsdiff4 is not installed, expected it for making deltas: edgesync[control]")
    mixes = mixing.available()
    if coder == "mixing" and not mixes:
        raise NotReachableError(
            f"coder 'mixing': its extension edgesync.delta._mixing is not installed, or {mixing.VARIABLE} is set; "
            "install edgesync where there is a C compiler, or ask for the coder 'lzma'"
        )
    switches = ["--mixing"] if mixes and coder != "lzma" else []
    out = os.path.abspath(out)
    with storage_errors(out), _workshop(os.path.dirname(out)) as directory:
        made = os.path.join(directory, "delta")
        follow("edgesync.delta.make", [*switches, os.fspath(base), os.fspath(result), made], progress)
        found = info(made)
        os.replace(made, out)
        fsync_dir(os.path.dirname(out))
    return found


def apply(base: Path, delta: Path, out: Path, progress: Progress | None = None) -> Info:
    """Write the image that `delta` makes of `base` as the file `out`, or onto the block device `out`.

    A file appears whole or stays what it was. A device is written in place: when that fails, it holds nothing of use.
    Phase of progress: "apply". Raises BaseModifiedError for another base (before anything is written),
    DeltaCorruptError, UnknownFormatError, ResultMismatchError, DiskFullError, StorageError; ConfigError for a device
    that is the base itself.
    """
    out = os.path.abspath(out)
    with storage_errors(out):
        if not _is_device(out):
            with _whole(out) as target:
                return _apply(base, delta, target, progress)
        if os.path.samefile(out, base):
            raise ConfigError(f"{out}: found the base itself, expected another device to write to")
        # With O_EXCL the kernel refuses a device that is mounted.
        target = os.open(out, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
        try:
            return _apply(base, delta, target, progress)
        finally:
            os.close(target)


def verify(base: Path, delta: Path, progress: Progress | None = None) -> Info:
    """Apply `delta` to `base` and keep nothing: what `apply` raises, this raises.

    The image goes into a file without a name in $TMPDIR, which needs the room.
    """
    with tempfile.TemporaryFile() as nowhere:
        return _apply(base, delta, nowhere.fileno(), progress)


def info(delta: Path) -> Info:
    """What the headers of a delta say. Raises UnknownFormatError, DeltaCorruptError, StorageError."""
    with _opened(delta) as blob:
        try:
            return _info(blob)[1]
        except (DeltaCorruptError, UnknownFormatError) as error:
            raise type(error)(f"{os.fspath(delta)}: {Exception.__str__(error)}") from error


def _info(blob: int) -> tuple[Header, Info]:
    length = size_of(blob)
    header, start = parse_header(read_blob(blob, min(HEADER_LIMIT, length), 0))
    return header, Info(
        length,
        header.base_length,
        header.base_hash,
        header.result_length,
        header.result_hash,
        header.segments,
        "mixing" if needs_mixing(blob, header, start) else "lzma",
    )


@contextlib.contextmanager
def _workshop(place: str) -> Iterator[str]:
    """A directory there, which is gone at the end."""
    directory = os.path.join(place, f".edgesync-{uuid.uuid4().hex}")
    try:  # Ctrl-C may come in the very moment in which it appears
        os.mkdir(directory, 0o700)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _whole(out: str) -> Iterator[int]:
    """A descriptor of a file beside `out`, which takes its place at the end unless there is an exception."""
    temporary = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}-{uuid.uuid4().hex}")
    target = None
    try:  # Ctrl-C may come in the very moment in which the file appears
        target = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        yield target
        os.replace(temporary, out)
        fsync_dir(os.path.dirname(out))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        if target is not None:
            os.close(target)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    with storage_errors(os.fspath(path)):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _apply(base: Path, delta: Path, target: int, progress: Progress | None) -> Info:
    with _opened(base) as base_file, _opened(delta) as blob:
        try:
            header, found = _info(blob)
            apply_delta(
                base_file,
                blob,
                target,
                base_sha256=header.base_hash,
                length=header.result_length,
                sha256=header.result_hash,
                progress=functools.partial(progress, "apply") if progress else lambda _done, _total: None,
            )
        except BaseModifiedError as error:
            raise BaseModifiedError(f"{os.fspath(base)}: {Exception.__str__(error)}") from error
        except (DeltaCorruptError, UnknownFormatError) as error:
            raise type(error)(f"{os.fspath(delta)}: {Exception.__str__(error)}") from error
    return found
