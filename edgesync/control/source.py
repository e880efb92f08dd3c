"""The git repository that a fleet is followed from, read through the git command line. The only caller of git.

Nothing here changes a repository but `create` and `install_hooks`, and nothing here uses the network: a mirror of a
remote is fetched by whoever owns it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesync.control.parse import FILE_LIMIT
from edgesync.control.types import EXECUTABLE, LINK, REGULAR, SourceFile
from edgesync.host.files import storage_errors, write_atomic
from edgesync.wire.bundle import BUNDLE_LIMIT
from edgesync.wire.errors import ConfigError, NotReachableError

TIMEOUT = 30.0
"""Seconds for one call of git."""
FILES_LIMIT = 50_000
"""Files of one commit: a layer of config for each of 10,000 boards has a few for each."""
TOTAL_LIMIT = 64 * 1024 * 1024
"""Bytes of all fleet files of one commit."""
OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes of one answer of git, file contents and listings apart."""
LISTING_LIMIT = FILES_LIMIT * 400
"""Bytes of the list of all fleet files, whose names may be long."""

CONFIG = "config"
FLEET_PATHS = ("fleet.yaml", "boards", "releases", CONFIG)
HOOK_MARK = "# written by edgesync: tells the server at once that the branch may have moved"


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; `time` is the committer's, in unix seconds."""

    id: str
    author: str
    time: int
    subject: str


class Repository:
    """One branch of a repository, bare or not. Calls raise NotReachableError where there is no repository or git does
    not answer in time, ConfigError where a branch, commit or file is not what it should be.
    """

    def __init__(self, path: Path, branch: str = "main") -> None:
        self.path = path.absolute()
        self.branch = branch

    def head(self) -> Commit:
        """The newest commit of the branch."""
        return self.commit(f"refs/heads/{self.branch}")

    def resolve(self, rev: str) -> str:
        """The full id of a commit named as git names commits: a branch, a tag, `HEAD~1`."""
        if rev.startswith("-") or not rev.isprintable():
            raise ConfigError(f"{self.path}: found {rev[:60]!r}, expected the name of a commit")
        found = self._git("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}", missing_ok=True)
        if not found:
            raise ConfigError(f"{self.path}: no commit {rev!r}; `git log` and `git branch` list what there is")
        return found.decode().strip()

    def commit(self, rev: str) -> Commit:
        found = self._git(
            "log", "-1", "--no-show-signature", "--format=%H%x00%an <%ae>%x00%ct%x00%s", self.resolve(rev)
        )
        name, author, time, subject = found.decode(errors="replace").rstrip("\n").split("\0", 3)
        return Commit(name, author, int(time), subject)

    def files(self, rev: str) -> Mapping[str, SourceFile]:
        """The fleet's files at a commit, within the limits. Links and submodules are not followed."""
        wanted = ("ls-tree", "-r", "-z", "-l", "--full-tree", self.resolve(rev), "--", *FLEET_PATHS)
        objects: dict[str, str] = {}
        sizes: dict[str, int] = {}
        modes: dict[str, int] = {}
        for entry in self._git(*wanted, limit=LISTING_LIMIT).split(b"\0")[:-1]:
            meta, _, name = entry.partition(b"\t")
            mode, _, identity, size = meta.decode().split()
            path = _fleet_path(name)
            if path is None:
                continue
            modes[path] = _git_mode(int(mode, 8))
            if modes[path] not in (REGULAR, EXECUTABLE):
                continue
            if not size.isdigit():
                raise _missing(self.path, identity)
            objects[path], sizes[path] = identity, int(size)
        _within_limits(modes, sizes)
        contents = dict(zip(objects, self._contents(objects.values(), sum(sizes.values())), strict=True))
        return {path: SourceFile(contents.get(path, b""), mode) for path, mode in modes.items()}

    def current_files(self) -> Mapping[str, SourceFile]:
        """The fleet's files as they lie in the working tree, committed or not; in a bare repository those at HEAD."""
        return self.files("HEAD") if self.is_bare() else self._working_files()

    def _working_files(self) -> Mapping[str, SourceFile]:
        found = {
            path: (place, place.lstat())
            for place in self._walk()
            if (path := _fleet_path(os.fsencode(place.relative_to(self.path))))
        }
        modes = {path: _git_mode(status.st_mode) for path, (_, status) in found.items()}
        regular = {path: found[path] for path, mode in modes.items() if mode in (REGULAR, EXECUTABLE)}
        _within_limits(modes, {path: status.st_size for path, (_, status) in regular.items()})
        try:
            contents = {path: place.read_bytes() for path, (place, _) in regular.items()}
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}; expected a file that can be read") from error
        return {path: SourceFile(contents.get(path, b""), mode) for path, mode in modes.items()}

    def is_bare(self) -> bool:
        """True for a repository without a working tree."""
        return not (self.path / ".git").exists() and (self.path / "objects").is_dir()

    def create(self, message: str) -> None:
        """Make a repository of a directory and commit all that is in it, as edgesync's own first commit."""
        self._git("init", "--quiet", "--template=", f"--initial-branch={self.branch}")
        self._git("add", "--all")
        own = (
            "user.name=edgesync",
            "user.email=edgesync@localhost",
            "commit.gpgSign=false",
            "core.hooksPath=/dev/null",
        )
        self._git(*(word for setting in own for word in ("-c", setting)), "commit", "--quiet", f"--message={message}")

    async def watch(
        self, poll_seconds: float, wake: asyncio.Event
    ) -> AsyncIterator[Commit | ConfigError | NotReachableError]:
        """The head now, then each other head that is seen, at most `poll_seconds` after it is there or at once when
        `wake` is set. A branch that was forced elsewhere is just another head.

        A repository that cannot be read gives its error, once until the text changes, and after it the head again.
        """
        last: Commit | str | None = None
        while True:
            wake.clear()
            try:
                head = await asyncio.to_thread(self.head)
            except (ConfigError, NotReachableError) as error:
                if last != str(error):
                    last = str(error)
                    yield error
            else:
                if last != head:
                    last = head
                    yield head
            try:
                await asyncio.wait_for(wake.wait(), poll_seconds)
            except asyncio.TimeoutError:  # the builtin TimeoutError only from Python 3.11 on
                pass

    def install_hooks(self, socket: Path) -> tuple[str, ...]:
        """Hooks that tell the server behind the Unix socket at once; polling would see the same a little later.

        They run in the background, so that a server that is away costs a commit neither time nor success. Returns
        the names of hooks that were left alone because they are someone else's, or lie outside of the repository;
        raises StorageError where they cannot be written.
        """
        directory = self._located("hooks")
        names = ("post-receive",) if self.is_bare() else ("post-commit", "post-merge", "post-rewrite", "post-receive")
        if not directory.is_relative_to(self._located("")):
            return names
        text = _hook(socket)
        foreign = []
        with storage_errors(str(directory)):
            directory.mkdir(exist_ok=True)
        for name in names:
            place = directory / name
            found = place.read_bytes() if place.exists() else b""
            if place.is_symlink() or (found and HOOK_MARK.encode() not in found):
                foreign.append(name)
            elif found != text:
                write_atomic(str(place), text, 0o755)
        return tuple(foreign)

    def _located(self, name: str) -> Path:
        """A path that belongs to git, as `core.hooksPath` and the like have it."""
        found = self._git("rev-parse", *(("--git-path", name) if name else ("--git-common-dir",)))
        return (self.path / os.fsdecode(found.rstrip(b"\n"))).resolve()

    def _walk(self) -> Iterable[Path]:
        for place in (self.path / name for name in FLEET_PATHS):
            if place.is_symlink() or not place.is_dir():
                yield from [place] if os.path.lexists(place) else ()
                continue
            for parent, below, names in os.walk(place):
                links = (name for name in below if os.path.islink(os.path.join(parent, name)))
                yield from (Path(parent, name) for name in (*names, *links))

    def _contents(self, objects: Iterable[str], total: int) -> list[bytes]:
        """The bytes of blobs, by one `git cat-file --batch`: a header line, the bytes, a newline for each."""
        names = list(objects)
        if not names:
            return []
        request = "".join(f"{name}\n" for name in names).encode()
        answer = self._git("cat-file", "--batch", stdin=request, limit=total + 100 * len(names))
        contents, at = [], 0
        for name in names:
            end = answer.index(b"\n", at)
            head = answer[at:end].split()
            if len(head) != 3 or head[1] != b"blob":
                raise _missing(self.path, name)
            at = end + 1 + int(head[2])
            contents.append(answer[end + 1 : at])
            at += 1
        return contents

    def _git(self, *arguments: str, stdin: bytes = b"", limit: int = OUTPUT_LIMIT, missing_ok: bool = False) -> bytes:
        if not self.path.is_dir():
            raise NotReachableError(f"{self.path}: no such directory, expected a git repository")
        command = ["git", "-C", str(self.path), "-c", "core.fsmonitor=false", *arguments]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, timeout=TIMEOUT, env=_environment(self.path), check=False
            )
        except FileNotFoundError as error:
            raise NotReachableError("git: no such program on PATH; install git") from error
        except subprocess.TimeoutExpired as error:
            raise NotReachableError(f"{self.path}: `git {_verb(arguments)}` took more than {TIMEOUT:.0f} s") from error
        if done.returncode == 1 and missing_ok:
            return b""
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split()) or f"exit status {done.returncode}"
            raise NotReachableError(f"{self.path}: `git {_verb(arguments)}` failed: {said[:400]}")
        if len(done.stdout) > limit:
            raise ConfigError(
                f"{self.path}: `git {_verb(arguments)}` answered {len(done.stdout)} bytes, at most {limit}"
            )
        return done.stdout


def _environment(path: Path) -> dict[str, str]:
    """The caller's environment without what points git elsewhere, such as the GIT_DIR that a hook inherits. Git looks
    for a repository here only and not in the directories above.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ceiling = {"GIT_CEILING_DIRECTORIES": str(path.parent), "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    return {**kept, **ceiling, "LC_ALL": "C"}


def _missing(path: Path, name: str) -> ConfigError:
    return ConfigError(f"{path}: object {name} is missing from the repository; `git fsck` says more")


def _verb(arguments: Iterable[str]) -> str:
    return next(word for word in arguments if not word.startswith("-") and "=" not in word)


def _fleet_path(name: bytes) -> str | None:
    """The path of a file that belongs to the fleet; None for one that is the operator's own. The ending .yml is kept,
    so that it is reported rather than passed over, and bytes that are no UTF-8 for the same reason.
    """
    path = name.decode(errors="backslashreplace")
    ours = path in FLEET_PATHS or path.startswith(f"{CONFIG}/") or path.endswith((".yaml", ".yml"))
    return path if ours else None


def _git_mode(mode: int) -> int:
    """The mode that git would keep; of links and the like only the type."""
    if stat.S_ISREG(mode):
        return EXECUTABLE if mode & stat.S_IXUSR else REGULAR
    return LINK if stat.S_ISLNK(mode) else stat.S_IFMT(mode)


def _within_limits(paths: Collection[str], sizes: Mapping[str, int]) -> None:
    if len(paths) > FILES_LIMIT:
        raise ConfigError(f"found {len(paths)} files in the fleet repository, expected at most {FILES_LIMIT}")
    for path, size in sizes.items():
        limit = BUNDLE_LIMIT if path.startswith(f"{CONFIG}/") else FILE_LIMIT
        if size > limit:
            hint = "a board's whole config is no larger" if limit == BUNDLE_LIMIT else "split it into several files"
            raise ConfigError(f"{path}: found {size} bytes, expected at most {limit}; {hint}")
    if sum(sizes.values()) > TOTAL_LIMIT:
        raise ConfigError(f"found {sum(sizes.values())} bytes of fleet files, expected at most {TOTAL_LIMIT}")


def _hook(socket: Path) -> bytes:
    """A shell script: this interpreter posts to the server's socket, in the background, silent, for 5 s at most."""
    knock = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5); "
        f"s.connect({str(socket)!r}); "
        r"s.sendall(b'POST /v1/wake HTTP/1.1\r\nHost: edgesync\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'); "
        "s.recv(1)"
    )
    run = shlex.join([sys.executable, "-I", "-S", "-c", knock])
    return f"#!/bin/sh\n{HOOK_MARK}\n{run} </dev/null >/dev/null 2>&1 &\nexit 0\n".encode()
