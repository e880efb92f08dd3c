"""Going back as GitOps does: a new commit whose fleet.yaml, releases/ and config/ are those of an earlier one.

The commit is made of objects first, which nobody sees. Then the branch moves from the head that it was made on to the
new commit, or not at all; a working tree follows last.
"""

from __future__ import annotations

import os
import tempfile

from edgesync.control.git import Git
from edgesync.control.source import Repository
from edgesync.wire.errors import ConfigError, NotReachableError

PATHS = ("fleet.yaml", "releases", "config")
"""What goes back. boards/ says which boards there are and whose keys they have, and that is no matter of a revision."""
LISTING_LIMIT = 64 * 1024 * 1024

_IDENTITY = tuple(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE"))


class Rollback:
    """One way back on the branch that is checked out (of a bare repository: the one of HEAD).

    Raises ConfigError for a revision that is none, a detached HEAD, and paths with changes that are not committed.
    """

    def __init__(self, git: Git, rev: str) -> None:
        self._git = git
        found = git("symbolic-ref", "--quiet", "HEAD", missing_ok=True).decode().strip()
        if not found:
            raise ConfigError(f"{git.path}: found a detached HEAD, expected a branch; `git switch BRANCH` goes to one")
        self._ref = found
        self.branch = found.removeprefix("refs/heads/")
        repository = Repository(git.path, self.branch)
        self.target = repository.resolve(rev)
        self.head = repository.head().id
        self._subject = repository.commit(self.target).subject

    def prepare(self) -> str:
        """The id of the new commit, which no branch knows yet."""
        self._refuse_changes()
        tree = self._tree()
        if tree == self._git("rev-parse", f"{self.head}^{{tree}}").decode().strip():
            raise ConfigError(
                f"{self._git.path}: {self.branch} says what {self.target[:12]} said; nothing to go back to"
            )
        message = (
            f"Roll back to {self.target[:12]} ({self._subject})\n\n"
            f"fleet.yaml, releases and config are those of {self.target}; boards stay as they are.\n"
        )
        signs = self._git("config", "--type=bool", "commit.gpgSign", missing_ok=True).strip() == b"true"
        words = ["commit-tree", *(["-S"] if signs else []), "-p", self.head, "-F", "-", tree]
        identity = {name: os.environ[name] for name in _IDENTITY if name in os.environ}
        return self._git(*words, stdin=message.encode(), environment=identity).decode().strip()

    def commit(self, new: str) -> None:
        """Move the branch, if it is where it was, and then the working tree."""
        self._refuse_changes()
        if not self._git.is_bare():
            # A file that was only touched would count as changed.
            self._git("update-index", "--refresh", missing_ok=True)
            self._git("read-tree", "-m", "-u", "--dry-run", self.head, new)
        try:
            self._git("update-ref", "-m", f"rollback: to {self.target[:12]}", self._ref, new, self.head)
        except NotReachableError as error:
            raise ConfigError(f"{self.branch} has moved in the meantime; nothing was changed ({error})") from error
        if not self._git.is_bare():
            self._git("read-tree", "-m", "-u", self.head, new)

    def _refuse_changes(self) -> None:
        if self._git.is_bare():
            return
        found = self._git("status", "--porcelain", "-z", "--untracked-files=all", "--", *PATHS, limit=LISTING_LIMIT)
        if found:
            first = found.split(b"\0")[0][3:].decode(errors="replace")
            raise ConfigError(f"{first}: found changes that are not committed; commit them, or `git stash` them, first")

    def _tree(self) -> str:
        """The head's tree with the paths of the target, put together in an index of its own."""
        with tempfile.TemporaryDirectory(prefix="edgesync-rollback-") as place:
            own = {"GIT_INDEX_FILE": os.path.join(place, "index")}
            self._git("read-tree", self.head, environment=own)
            gone, kept = (self._listing(commit) for commit in (self.head, self.target))
            away = b"".join(b"0 %b\t%b\0" % (b"0" * len(meta.split()[2]), name) for meta, name in gone)
            here = b"".join(b"%b\t%b\0" % (meta, name) for meta, name in kept)
            self._git("update-index", "-z", "--index-info", stdin=away + here, environment=own)
            return self._git("write-tree", environment=own).decode().strip()

    def _listing(self, commit: str) -> list[tuple[bytes, bytes]]:
        """Mode, kind and object of each entry below the paths, and its name."""
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *PATHS, limit=LISTING_LIMIT)
        return [(meta, name) for meta, _, name in (entry.partition(b"\t") for entry in listing.split(b"\0")[:-1])]
