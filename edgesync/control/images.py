"""Image files: the directory that builds put them into, the store that keeps them by content, and the check of both.

An image enters the store as a copy and never as a link: a build that writes its output in place would change the
bytes behind a digest that boards have been promised.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edgesync.control.parse import Problem
from edgesync.control.types import Fleet, Image
from edgesync.delta.images import Unpacked, unpack
from edgesync.host.files import fsync_dir, read_limited, storage_errors, write_atomic
from edgesync.wire.errors import ConfigError, EdgesyncError
from edgesync.wire.ids import Digest

CHUNK = 1 << 20
"""Bytes read at once."""
SETTLED = 2.0
"""Seconds that a file must be unchanged before its digest is remembered: a write within one tick of the file system's
clock leaves size and time as they were."""
CACHE_LIMIT = 16 * 1024 * 1024
"""Bytes of the file of remembered digests: about 80,000 images."""

Progress = Callable[[int], None]
"""Told the bytes of each step."""


class ImageStore:
    """Images by content: `<directory>/<sha256>`, read-only, whole or absent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._importing = threading.Lock()

    def path_of(self, sha256: Digest) -> Path | None:
        """Where an image lies, None if the store has not got it."""
        path = self._directory / sha256
        return path if path.is_file() else None

    def import_image(self, path: Path, sha256: Digest, declared: str = "") -> Path:
        """Copy a file into the store, unless its content is there, and return where it lies.

        `declared` names the release file and key that ask for it. Raises ConfigError if there is no such file or its
        digest is another, DiskFullError or StorageError if it cannot be kept; the store is then as before. Threads of
        one process may call it at the same time; a store belongs to one process.
        """
        with self._importing:
            return self.path_of(sha256) or self._copy(path, sha256, declared)

    def import_packed(self, path: Path, limit: int) -> Unpacked:
        """Keep what is inside a gzip, xz, zstd or Android sparse file, or the file itself where it is none of these.

        `limit` is the bytes that it may unpack to. Beside a running server this is safe: the image appears whole.
        Raises ConfigError if there is no such file or nothing is in it, and what `delta.images.unpack` raises.
        """
        temporary = self._directory / f"import-{uuid.uuid4().hex}.tmp"
        with storage_errors(str(self._directory)):
            self._directory.mkdir(parents=True, exist_ok=True)
        try:
            with _open(path, "") as source, storage_errors(str(temporary)), temporary.open("wb") as sink:
                found = unpack(source, sink, str(path), limit)
                if not found.length:
                    raise ConfigError(f"{path}: found 0 bytes, expected an image")
                sink.flush()
                os.fchmod(sink.fileno(), 0o444)
                os.fsync(sink.fileno())
            with storage_errors(str(self._directory)):
                temporary.replace(self._directory / found.sha256)
                fsync_dir(str(self._directory))
        finally:
            temporary.unlink(missing_ok=True)
        return found

    def _copy(self, path: Path, sha256: Digest, declared: str) -> Path:
        target = self._directory / sha256
        temporary = self._directory / f"{sha256}.tmp"
        with storage_errors(str(target)):
            self._directory.mkdir(parents=True, exist_ok=True)
        try:
            with _open(path, declared) as source, storage_errors(str(target)), temporary.open("wb") as copy:
                found = _digest(source, copy.write)
                copy.flush()
                os.fchmod(copy.fileno(), 0o444)
                os.fsync(copy.fileno())
            if found != sha256:
                raise ConfigError(f"{_where(declared)}{path} has the digest {found}, expected {sha256}")
            with storage_errors(str(target)):
                temporary.replace(target)
                fsync_dir(str(self._directory))
        finally:
            temporary.unlink(missing_ok=True)
        return target


@dataclass(slots=True)
class HashCache:
    """Digests of files by path, size, time of change and inode, so that looking twice reads once.

    Kept in `place`; what cannot be read or written there is computed again and never an error.
    """

    place: Path | None = None
    _known: dict[str, list[int | str]] = field(default_factory=dict)
    _changed: bool = False

    def __post_init__(self) -> None:
        if self.place and self.place.exists():
            try:
                known = json.loads(read_limited(str(self.place), CACHE_LIMIT))
            except (EdgesyncError, ValueError):
                known = None
            if isinstance(known, dict):
                self._known = known

    def digest(self, path: Path, progress: Progress | None = None) -> Digest:
        """The SHA-256 of a file. Raises ConfigError if it cannot be read."""
        with _open(path, "") as file:
            status = os.fstat(file.fileno())
            stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
            known = self._known.get(str(path.absolute()))
            if isinstance(known, list) and known[:3] == stamp and len(known) == 4:
                return Digest(str(known[3]))
            found = _digest(file, lambda data: progress(len(data)) if progress else None)
        if time.time() - status.st_mtime > SETTLED:
            self._known[str(path.absolute())] = [*stamp, found]
            self._changed = True
        return found

    def save(self) -> None:
        if not self.place or not self._changed:
            return
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(str(self.place), json.dumps(self._known).encode(), 0o600)
        except (EdgesyncError, OSError):
            return
        self._changed = False


def check(fleet: Fleet, images: Path, store: ImageStore | None = None, cache: HashCache | None = None) -> list[Problem]:
    """A problem for each image of a release that is neither in the store nor, with its digest, in the directory."""
    cache = cache or HashCache()
    problems = []
    for release in fleet.releases.values():
        for image in release.images.values():
            if store and store.path_of(image.sha256):
                continue
            path = images / image.path
            if not path.is_file():
                hint = f"put the image into {images}, which git does not carry"
                problems.append(_problem(image, "path", f"no file {image.path!r}", f"an image in {images}", hint))
            elif (found := cache.digest(path)) != image.sha256:
                hint = f"{path} is not the image that the release names: build it again, or correct the release"
                problems.append(_problem(image, "sha256", found, image.sha256, hint))
    cache.save()
    return sorted(problems)


def _problem(image: Image, key: str, found: str, expected: str, hint: str) -> Problem:
    return Problem(image.file, image.line, f"images.{image.component}.{key}", found, expected, hint)


def _open(path: Path, declared: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{_where(declared)}{path}: {error.strerror}, expected an image file") from error


def _where(declared: str) -> str:
    return f"{declared}: " if declared else ""


def _digest(source: BinaryIO, sink: Callable[[bytes], object]) -> Digest:
    """Read to the end, pass everything on, return the SHA-256."""
    running = hashlib.sha256()
    while data := source.read(CHUNK):
        running.update(data)
        sink(data)
    return Digest(running.hexdigest())
