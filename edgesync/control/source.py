"""The git repository that a fleet is followed from.

Nothing here changes a repository but `create`, and nothing uses the network: a mirror of a remote is fetched by whoever
owns it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesync.control.git import Git
from edgesync.control.parse import FILE_LIMIT, printable
from edgesync.control.types import EXECUTABLE, LINK, REGULAR, SourceFile
from edgesync.wire.bundle import BUNDLE_LIMIT
from edgesync.wire.errors import ConfigError, NotReachableError, UntrustedCommitError

FILES_LIMIT = 50_000
"""Files of one commit: a layer of config for each of 10,000 boards has a few for each."""
TOTAL_LIMIT = 64 * 1024 * 1024
"""Bytes of all fleet files of one commit."""
LISTING_LIMIT = FILES_LIMIT * 400
"""Bytes of the list of all fleet files, whose names may be long."""

CONFIG = "config"
FLEET_PATHS = ("fleet.yaml", "boards", "releases", CONFIG)


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; `time` is the committer's, in unix seconds. Author and subject command no terminal."""

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
        self.git = Git(path)

    def head(self) -> Commit:
        """The newest commit of the branch."""
        name = f"refs/heads/{self.branch}"
        if not self.git("rev-parse", "--verify", "--quiet", name, missing_ok=True):
            raise ConfigError(f"{self.path}: no branch {self.branch!r}; `git branch` lists what there is")
        return self.commit(name)

    def resolve(self, rev: str) -> str:
        """The full id of a commit named as git names commits: a branch, a tag, `HEAD~1`."""
        if rev.startswith("-") or not rev.isprintable():
            raise ConfigError(f"{self.path}: found {rev[:60]!r}, expected the name of a commit")
        found = self.git("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}", missing_ok=True)
        if not found:
            raise ConfigError(f"{self.path}: no commit {rev!r}; `git log` and `git branch` list what there is")
        return found.decode().strip()

    def commit(self, rev: str) -> Commit:
        found = self.git("log", "-1", "--no-show-signature", "--format=%H%x00%an <%ae>%x00%ct%x00%s", self.resolve(rev))
        name, author, time, subject = found.decode(errors="replace").rstrip("\n").split("\0", 3)
        return Commit(name, printable(author), int(time), printable(subject))

    def verify(self, commit: str, signers: Path) -> None:
        """Raises UntrustedCommitError unless a key in the file `signers` (ssh-keygen's ALLOWED SIGNERS) has signed the
        commit, ConfigError where there is no such file.

        What the repository or the account configures counts for nothing: git would take a signature of another format
        from any key that the account's gpg knows, and ask whatever program is configured.
        """
        if not signers.is_file():
            raise ConfigError(f"{signers}: no such file, expected the allowed signers of {self.path}")
        settings = {
            "gpg.format": "ssh",
            "gpg.ssh.allowedSignersFile": str(signers),
            "gpg.ssh.program": "ssh-keygen",
            "gpg.minTrustLevel": "fully",
            **dict.fromkeys(("gpg.program", "gpg.openpgp.program", "gpg.x509.program"), "false"),
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        try:
            self.git(*words, "verify-commit", commit)
        except NotReachableError as error:
            head, _, _ = self.git("cat-file", "commit", commit).partition(b"\n\n")
            reason = str(error) if b"\ngpgsig" in head else "it is not signed"
            raise UntrustedCommitError(f"commit {commit[:12]}: {reason}") from error

    def files(self, rev: str) -> Mapping[str, SourceFile]:
        """The fleet's files at a commit, within the limits. Links and submodules are not followed."""
        listing = self.git(
            "ls-tree", "-r", "-z", "--full-tree", self.resolve(rev), "--", *FLEET_PATHS, limit=LISTING_LIMIT
        )
        entries = {}
        for meta, name in _entries(listing):
            mode, _, identity = meta.split()
            entries[name] = (mode, identity)
        return self._files(entries)

    def staged_files(self) -> Mapping[str, SourceFile]:
        """The fleet's files as `git commit` would commit them now: those of the index that a hook was told of, else of
        the repository's own.
        """
        index = os.environ.get("GIT_INDEX_FILE")
        more = {"GIT_INDEX_FILE": os.path.abspath(index)} if index else {}
        listing = self.git("ls-files", "-z", "--stage", "--", *FLEET_PATHS, limit=LISTING_LIMIT, environment=more)
        entries = {}
        for meta, name in _entries(listing):
            mode, identity, stage = meta.split()
            if stage != "0":
                raise ConfigError(
                    f"{name.decode(errors='replace')}: found a conflict of a merge, expected a settled file"
                )
            entries[name] = (mode, identity)
        return self._files(entries)

    def _files(self, entries: Mapping[bytes, tuple[str, str]]) -> Mapping[str, SourceFile]:
        """The files behind a listing: mode and object by name."""
        found = {path: entry for name, entry in entries.items() if (path := _fleet_path(name)) is not None}
        modes = {path: _git_mode(int(mode, 8)) for path, (mode, _) in found.items()}
        objects = {path: found[path][1] for path, mode in modes.items() if mode in (REGULAR, EXECUTABLE)}
        sizes = dict(zip(objects, self._sizes(objects.values()), strict=True))
        _within_limits(modes, sizes)
        contents = dict(zip(objects, self._contents(objects.values(), sum(sizes.values())), strict=True))
        return {path: SourceFile(contents.get(path, b""), mode) for path, mode in modes.items()}

    def current_files(self) -> Mapping[str, SourceFile]:
        """The fleet's files as they lie in the working tree, committed or not; in a bare repository those at HEAD."""
        return self.files("HEAD") if self.git.is_bare() else self._working_files()

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

    def create(self, message: str) -> None:
        """Make a repository of a directory and commit all that is in it, as edgesync's own first commit."""
        self.git("init", "--quiet", "--template=", f"--initial-branch={self.branch}")
        self.git("add", "--all")
        own = (
            "user.name=edgesync",
            "user.email=edgesync@localhost",
            "commit.gpgSign=false",
            "core.hooksPath=/dev/null",
        )
        self.git(*(word for setting in own for word in ("-c", setting)), "commit", "--quiet", f"--message={message}")

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

    def _walk(self) -> Iterable[Path]:
        for place in (self.path / name for name in FLEET_PATHS):
            if place.is_symlink() or not place.is_dir():
                yield from [place] if os.path.lexists(place) else ()
                continue
            for parent, below, names in os.walk(place):
                links = (name for name in below if os.path.islink(os.path.join(parent, name)))
                yield from (Path(parent, name) for name in (*names, *links))

    def _sizes(self, objects: Iterable[str]) -> list[int]:
        """The bytes of each blob, without reading any."""
        names = list(objects)
        if not names:
            return []
        request = "".join(f"{name}\n" for name in names).encode()
        answer = self.git("cat-file", "--batch-check=%(objecttype) %(objectsize)", stdin=request, limit=LISTING_LIMIT)
        sizes = []
        for name, line in zip(names, answer.decode().splitlines(), strict=True):
            kind, _, size = line.partition(" ")
            if kind != "blob" or not size.isdigit():
                raise _missing(self.path, name)
            sizes.append(int(size))
        return sizes

    def _contents(self, objects: Iterable[str], total: int) -> list[bytes]:
        """The bytes of blobs, by one `git cat-file --batch`: a header line, the bytes, a newline for each."""
        names = list(objects)
        if not names:
            return []
        request = "".join(f"{name}\n" for name in names).encode()
        answer = self.git("cat-file", "--batch", stdin=request, limit=total + 100 * len(names))
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


def _missing(path: Path, name: str) -> ConfigError:
    return ConfigError(f"{path}: object {name} is missing from the repository; `git fsck` says more")


def _entries(listing: bytes) -> Iterator[tuple[str, bytes]]:
    """What git says of each entry of a listing, and the entry's name."""
    for entry in listing.split(b"\0")[:-1]:
        meta, _, name = entry.partition(b"\t")
        yield meta.decode(), name


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
