"""Trees on disk: one is in force, the others are ready to be. Switching is one rename.

    <root>/trees/<digest>      the files of a bundle, never changed by us once it has this name
    <root>/trees/<digest>.1    the same again, where someone wrote to the first while it was in force
    <root>/trees/new           being written
    <root>/current             a link to the tree in force: trees/<digest>

A reader that opens `current` as a directory, once, reads one tree: the old one or the new one. A tree that nobody needs
any more stays a while for those who have it open.

Everything is opened below a directory that is held open and never through a link, so a link that someone has put in our
place leads nowhere.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager

from edgesync.agent.tree.bundles import RESERVE, Catalogue, read
from edgesync.agent.tree.effects import Name
from edgesync.host.files import free_bytes, fsync_dir, storage_errors
from edgesync.wire.bundle import Entry
from edgesync.wire.errors import DiskFullError, MalformedMessageError, StorageError
from edgesync.wire.ids import Digest, parse_digest

LINK = "current"
GRACE = 60.0
"""Seconds that a reader has from opening a tree to its last file, whatever becomes of that tree."""
_NEW = "new"
_BLOCK = 4096
"""Bytes of a file system that a small file or a directory takes."""
_DIR_MODE = 0o755
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEVER = (errno.EEXIST, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG)
"""What a fresh directory says to a path that it can never hold beside the others: it takes two for one, or none."""


class Trees:
    """The directory `root`. Raises DiskFullError and StorageError, and what is named.

    Longer work is a generator, so that whoever drives it can do something else between two files.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self._directory = os.path.join(self.root, "trees")
        with storage_errors(self._directory):
            os.makedirs(self._directory, exist_ok=True)
            for directory in (self.root, self._directory):  # applications read here, whatever our umask is
                os.chmod(directory, _DIR_MODE)
        self._left: dict[str, float] = {}
        """Trees that may go, and since when, by the caller's clock."""

    def linked(self) -> Name:
        """The bundle whose tree is in force, as the link says; "" where there is none."""
        name = self._linked()
        return _digest_of(name) if self._stands(name) else ""

    def in_force(self) -> str:
        """The name of the tree in force: another one each time that a bundle's tree is written anew; "" for none."""
        return self._linked() if self.linked() else ""

    def standing(self, digest: Digest) -> str:
        """The name of the tree of this bundle: the one in force, or else one that stands. Raises StorageError where
        there is none.
        """
        linked = self._linked()
        for name in sorted(_names(digest), key=lambda name: name != linked):
            if self._stands(name):
                return name
        raise StorageError(f"{self._directory}: no tree of {digest[:12]} is there")

    def path(self, name: str) -> str:
        """The absolute path of a tree."""
        return os.path.join(self._directory, name)

    def write(self, catalogue: Catalogue) -> Generator[None, None, str]:
        """Write the tree of a bundle, a file a step, and return its name. One that stands and is right is kept; one
        that is in force and not right stays beside it.

        Raises MalformedMessageError for paths that this file system cannot hold beside one another.
        """
        with storage_errors(self._directory):
            for name in _names(catalogue.digest):
                right = self._stands(name)
                for difference in self.compare(catalogue, name) if right else ():
                    if difference:
                        right = False
                        break
                    yield
                if right:
                    self._left.pop(name, None)
                    return name
            new = self.path(_NEW)
            _remove(new)
            self._make_room(catalogue.entries)
            os.mkdir(new)
            try:
                yield from _fill(new, catalogue)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)  # it may be what fills the disk
                raise
            linked = self._linked()
            name = next(name for name in _names(catalogue.digest) if name != linked)
            _remove(self.path(name))
            os.rename(new, self.path(name))
            fsync_dir(self._directory)
            self._left.pop(name, None)
            return name

    def switch(self, name: str) -> None:
        """Put a tree in force, for good on return. Where it raises, the link names what it named before, or only its
        directory could not be synced.
        """
        path = os.path.join(self.root, LINK)
        if self._linked() == name:
            return
        if os.path.lexists(path) and not os.path.islink(path):
            raise StorageError(f"{path}: found something that is no link; move it away")
        self._left.pop(name, None)
        temporary = f"{path}.new"
        with storage_errors(path):
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(f"trees/{name}", temporary)
            os.replace(temporary, path)
            fsync_dir(self.root)

    def unlink(self) -> None:
        """Put no tree in force."""
        path = os.path.join(self.root, LINK)
        with storage_errors(path):
            if os.path.islink(path):
                os.unlink(path)
                fsync_dir(self.root)

    def compare(self, catalogue: Catalogue, name: str = "") -> Iterator[str]:
        """The paths in which the tree in force (or the tree `name`) differs from its bundle: in content, mode or kind,
        missing, or put there by someone. "" is a step without a difference.
        """
        tree = self.path(name or self._linked())
        files = {entry.path: entry for entry in catalogue.entries}
        for directory, names in _directories(files).items():
            try:
                with _opened(tree, directory) as fd:
                    if stat.S_IMODE(os.fstat(fd).st_mode) != _DIR_MODE:
                        yield directory or "."
                    there = set(os.listdir(fd))
                    for at in sorted(there | names):
                        path = f"{directory}/{at}" if directory else at
                        right = at in there and at in names and _is_right(fd, at, catalogue, files.get(path))
                        yield "" if right else path
            except OSError as error:
                # A directory that is missing, or is none, was told with the one above it.
                if not directory or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    yield f"{directory or '.'}: {error.strerror}"

    def open_file(self, path: str) -> tuple[Name, int]:
        """The bundle whose tree is in force and a descriptor of one of its files, -1 where it has none of this path.
        The caller closes it.
        """
        name, (directory, _, at) = self._linked(), path.rpartition("/")
        config = _digest_of(name)
        try:
            with _opened(self.path(name), directory) as parent:
                fd = os.open(at, _OPEN_FILE, dir_fd=parent)
        except OSError:
            return config, -1
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            fd = -1
        return config, fd

    def directories(self) -> list[str]:
        """The root and all directories of the tree in force, as they are; nothing where none is."""
        tree = self.path(self._linked())
        if not self.linked():
            return []
        return [self.root, *(directory for directory, _, _ in os.walk(tree))]

    def leave(self, name: str, now: float) -> None:
        """A tree that was in force is needed no more; `sweep` removes it when its time has come."""
        self._left[name] = now

    def prune(self, keep: Collection[Digest], now: float) -> None:
        """Leave all trees but the one in force and one of each of these bundles."""
        standing = {self._linked()}
        standing |= {self.standing(digest) for digest in keep if any(map(self._stands, _names(digest)))}
        with storage_errors(self._directory):
            names = set(os.listdir(self._directory))
        self._left = {name: self._left.get(name, now) for name in names - standing}

    def sweep(self, now: float) -> float | None:
        """Remove the trees that were left long enough ago. Seconds until the next of them, None for no more."""
        left = {name: since + GRACE - now for name, since in self._left.items()}
        for name, wait in left.items():
            if wait <= 0:
                self._clear(name)
        return min((wait for wait in left.values() if wait > 0), default=None)

    def _clear(self, name: str) -> None:
        del self._left[name]
        if name != self._linked():
            _remove(self.path(name))

    def _linked(self) -> str:
        """The name of the tree in force; "" for none, and for something that is no link of ours."""
        try:
            directory, _, name = os.readlink(os.path.join(self.root, LINK)).rpartition("/")
        except OSError:
            return ""
        return name if directory == "trees" and _digest_of(name) else ""

    def _stands(self, name: str) -> bool:
        path = self.path(name)
        return bool(name) and os.path.isdir(path) and not os.path.islink(path)

    def _make_room(self, entries: tuple[Entry, ...]) -> None:
        blocks = sum(-(-entry.length // _BLOCK) for entry in entries) + len(_directories({e.path: e for e in entries}))
        needed, free = blocks * _BLOCK, free_bytes(self._directory) - RESERVE
        while needed > free and self._left:  # what is left for readers' sake must not keep new config out
            self._clear(min(self._left, key=self._left.__getitem__))
            free = free_bytes(self._directory) - RESERVE
        if needed > free:
            raise DiskFullError(f"{self._directory}: a tree needs {needed} bytes, {max(0, free)} are free")


def _names(digest: Digest) -> tuple[str, str]:
    return digest, f"{digest}.1"


def _digest_of(name: str) -> Name:
    try:
        return parse_digest(name.removesuffix(".1"))
    except MalformedMessageError:
        return ""


def _directories(files: Mapping[str, Entry]) -> dict[str, set[str]]:
    """Each directory of a tree ("" is the tree itself) with the names that it must hold, parents first."""
    found: dict[str, set[str]] = {"": set()}
    for path in files:
        parts = path.split("/")
        for end in range(len(parts)):
            found.setdefault("/".join(parts[:end]), set()).add(parts[end])
    return dict(sorted(found.items()))


def _is_right(directory: int, name: str, catalogue: Catalogue, entry: Entry | None) -> bool:
    """Whether a name that shall be there is what it shall be: this file, or a directory (None)."""
    if entry is None:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return False
    fd = os.open(name, _OPEN_FILE, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if stat.S_IMODE(status.st_mode) != entry.mode or status.st_size != entry.length:
            return False
        at = 0
        while wanted := read(catalogue, entry, at):
            if os.pread(fd, len(wanted), at) != wanted:
                return False
            at += len(wanted)
        return True
    finally:
        os.close(fd)


def _fill(tree: str, catalogue: Catalogue) -> Iterator[None]:
    """All files of a bundle into an empty directory, on the disk for good."""
    directories = _directories({entry.path: entry for entry in catalogue.entries})
    for directory in filter(None, directories):
        above, _, name = directory.rpartition("/")
        with _holdable(directory), _opened(tree, above) as parent:
            os.mkdir(name, dir_fd=parent)
    for entry in catalogue.entries:
        _write(tree, catalogue, entry)
        yield
    for directory in directories:
        with _opened(tree, directory) as fd:
            os.fchmod(fd, _DIR_MODE)
            os.fsync(fd)


def _write(tree: str, catalogue: Catalogue, entry: Entry) -> None:
    directory, _, name = entry.path.rpartition("/")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _holdable(entry.path), _opened(tree, directory) as parent:
        fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        at = 0
        while data := read(catalogue, entry, at):
            at += os.write(fd, data)
        os.fchmod(fd, entry.mode)
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _holdable(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NEVER:
            raise MalformedMessageError(f"bundle: this file system cannot hold {path!r}: {error.strerror}") from error
        raise


def _open_below(tree: str, directory: str) -> int:
    """A descriptor of a directory of a tree, opened name by name and through no link."""
    fd = os.open(tree, _OPEN_DIR)
    for name in filter(None, directory.split("/")):
        try:
            below = os.open(name, _OPEN_DIR, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


@contextmanager
def _opened(tree: str, directory: str) -> Iterator[int]:
    fd = _open_below(tree, directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    """Whatever is there, and nothing that it points to."""
    with storage_errors(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
