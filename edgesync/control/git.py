"""The git command line. The only place that starts git; nothing here uses the network."""

from __future__ import annotations

import os
import subprocess
import types
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgesync.wire.errors import ConfigError, NotReachableError

TIMEOUT = 30.0
"""Seconds for one call of git."""
OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes of one answer of git, where nobody expects more."""

_NO_MORE: Mapping[str, str] = types.MappingProxyType({})


class Git:
    """Git in one repository, bare or not, with the caller's identity and configuration and nothing else of the caller's
    environment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def __call__(
        self,
        *arguments: str,
        stdin: bytes = b"",
        limit: int = OUTPUT_LIMIT,
        missing_ok: bool = False,
        environment: Mapping[str, str] = _NO_MORE,
    ) -> bytes:
        """What `git ARGUMENTS` answers; with `missing_ok` nothing where it ends with status 1.

        Raises NotReachableError where there is no repository, no git, or no good answer in time, ConfigError for an
        answer of more than `limit` bytes.
        """
        if not self.path.is_dir():
            raise NotReachableError(f"{self.path}: no such directory, expected a git repository")
        command = ["git", "-C", str(self.path), "-c", "core.fsmonitor=false", *arguments]
        env = {**_environment(self.path), **environment}
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, env=env, check=False)
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

    def is_bare(self) -> bool:
        """True for a repository without a working tree."""
        return not (self.path / ".git").exists() and (self.path / "objects").is_dir()

    def located(self, name: str) -> Path:
        """A path that belongs to git, as `core.hooksPath` and the like have it; "" for git's own directory."""
        found = self("rev-parse", *(("--git-path", name) if name else ("--git-common-dir",)))
        return (self.path / os.fsdecode(found.rstrip(b"\n"))).resolve()


def _environment(path: Path) -> dict[str, str]:
    """The caller's environment without what points git elsewhere, such as the GIT_DIR that a hook inherits. Git looks
    for a repository here only and not in the directories above, and takes no object for another (`git replace`).
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ceiling = {"GIT_CEILING_DIRECTORIES": str(path.parent), "GIT_OPTIONAL_LOCKS": "0"}
    return {**kept, **ceiling, "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}


def _verb(arguments: Iterable[str]) -> str:
    return next(word for word in arguments if not word.startswith("-") and "=" not in word)
