"""Which files match `include` and not `exclude`: `*`, `?`, `[...]`, `{a,b}` and `**`, as in the Collector.

A look is bounded: so many directory entries, so many files. `**` follows no symbolic link, so it cannot go in circles.
What cannot be looked at is a problem with its path; the others are found all the same.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgesync.wire.errors import ConfigError

FILES_LIMIT = 1000
"""Files that are followed."""
ENTRIES_LIMIT = 20_000
"""Directory entries of one look."""
PROBLEMS_LIMIT = 100
"""Problems that are kept of one look."""
ALTERNATIVES_LIMIT = 100
"""Patterns that one list comes to, braces written out."""

Inode = tuple[int, int]
"""Device and inode number."""
_Part = str | re.Pattern[str] | None
"""Of a path: a name, names that match, or None for directories of any depth."""
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file; `stamp` is its size and its mtime in nanoseconds: where both stay, nothing was written."""

    path: str
    inode: Inode
    stamp: tuple[int, int]


class Finder:
    """Looks again and again. `problems` are those of the last look, by path."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_parts(pattern) for pattern in _written_out(include)]
        self._exclude = [_expression(pattern) for pattern in _written_out(exclude)]
        self.problems: dict[str, str] = {}
        self._left = 0

    def look(self) -> dict[Inode, Found]:
        """By inode, so that a file with two names is one; what was written last comes last."""
        self.problems, self._left = {}, ENTRIES_LIMIT
        found: dict[Inode, Found] = {}
        for path, named in self._paths():
            one = self._file(path, named=named)
            if one and one.inode not in found:
                if len(found) == FILES_LIMIT:
                    self._problem(path, f"more than {FILES_LIMIT} files match; those behind it are not read")
                    break
                found[one.inode] = one
        return dict(sorted(found.items(), key=lambda item: item[1].stamp[1]))

    def _paths(self) -> Iterator[tuple[str, bool]]:
        for parts in self._include:
            for path, named in self._walk(parts):
                if not any(pattern.fullmatch(path) for pattern in self._exclude):
                    yield path, named

    def _walk(self, parts: Sequence[_Part]) -> Iterator[tuple[str, bool]]:
        """Paths, and whether the pattern names them in full."""
        waiting = [("", 0, True)]
        while waiting:
            base, at, named = waiting.pop()
            if at == len(parts):
                yield base, named
                continue
            part = parts[at]
            if isinstance(part, str):
                waiting.append((os.path.join(base, part), at + 1, named))
            elif part is None:
                waiting.append((base, at + 1, False))
                below = [entry for entry in self._entries(base, named=named) if entry.is_dir(follow_symlinks=False)]
                waiting += [(os.path.join(base, entry.name), at, False) for entry in below]
            else:
                names = [entry.name for entry in self._entries(base, named=named) if part.fullmatch(entry.name)]
                waiting += [(os.path.join(base, name), at + 1, False) for name in names]

    def _entries(self, directory: str, *, named: bool) -> list[os.DirEntry[str]]:
        listed: list[os.DirEntry[str]] = []
        if not self._left:
            return listed
        try:
            with os.scandir(directory or ".") as entries:
                for entry in entries:
                    self._left -= 1
                    if not self._left:
                        self._problem(
                            directory, f"more than {ENTRIES_LIMIT} directory entries; the others are not seen"
                        )
                        break
                    listed.append(entry)
        except OSError as error:
            self._lacking(directory, error, named=named)
        return listed

    def _file(self, path: str, *, named: bool) -> Found | None:
        """None for what is no regular file, is not there, or cannot be looked at."""
        try:
            status = os.stat(path)
        except OSError as error:
            # A file that is named may not be written yet; its directory should be there.
            directory = os.path.dirname(path) or "."
            self._lacking(directory, error, named=named and not os.path.isdir(directory), path=path)
            return None
        if stat.S_ISREG(status.st_mode):
            return Found(path, (status.st_dev, status.st_ino), stamp(status))
        if named or not stat.S_ISDIR(status.st_mode):
            self._problem(path, "not a regular file; it is not opened")
        return None

    def _lacking(self, directory: str, error: OSError, *, named: bool, path: str = "") -> None:
        """What came from a list and is gone meanwhile is no problem."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self._problem(path or directory, str(error.strerror))
        elif named:
            self._problem(directory, str(error.strerror))

    def _problem(self, path: str, text: str) -> None:
        if len(self.problems) < PROBLEMS_LIMIT:
            self.problems[path] = text


def stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def check(name: str, several: Sequence[str]) -> None:
    """Raises ConfigError for what is no pattern."""
    for pattern in several:
        shown = f"{name}: in {pattern[:80]!r}"
        if not pattern.strip("/") or "\0" in pattern or pattern.endswith("/"):
            raise ConfigError(f"{name}: found {pattern[:80]!r}, expected the path of a file")
        if any("**" in part and part != "**" for part in pattern.split("/")):
            raise ConfigError(f"{shown} ** stands beside other characters, expected /**/")
        plain = _BRACES.sub("", pattern)
        if "{" in plain or "}" in plain:
            raise ConfigError(f"{shown} braces stand within braces, or one has no other")
        try:
            _expression(plain)
        except re.error as error:
            raise ConfigError(f"{shown} {error}") from error
    for count, _ in enumerate(_written_out(several)):
        if count == ALTERNATIVES_LIMIT:
            raise ConfigError(f"{name}: more than {ALTERNATIVES_LIMIT} patterns, braces written out")


def _written_out(several: Sequence[str]) -> Iterator[str]:
    """`a.{b,c}` as `a.b` and `a.c`."""
    for pattern in several:
        braces = _BRACES.search(pattern)
        if braces is None:
            yield pattern
            continue
        before, after = pattern[: braces.start()], pattern[braces.end() :]
        yield from _written_out([f"{before}{choice}{after}" for choice in braces[1].split(",")])


def _parts(pattern: str) -> list[_Part]:
    """Of a path; the first is "/" where it is absolute."""
    made: list[_Part] = ["/"] if pattern.startswith("/") else []
    for part in filter(None, pattern.split("/")):
        if part != "**":
            made.append(re.compile(_names(part)) if re.search(r"[*?\[]", part) else part)
        elif not made or made[-1] is not None:
            made.append(None)
    if made[-1] is None:  # a/** is everything below a
        made.append(re.compile(_names("*")))
    return made


def _expression(pattern: str) -> re.Pattern[str]:
    """For a whole path."""
    parts = [part for part in pattern.split("/") if part]
    made = "/" if pattern.startswith("/") else ""
    for part in parts[:-1]:
        made += "(?:[^/]*/)*" if part == "**" else f"{_names(part)}/"
    return re.compile(made + (".*" if parts[-1] == "**" else _names(parts[-1])), re.DOTALL)


def _names(part: str) -> str:
    """One part of a pattern as a regular expression."""
    made, at = "", 0
    while at < len(part):
        end = part.find("]", at + 2) if part[at] == "[" else -1
        if part[at] == "*":
            made += "[^/]*"
        elif part[at] == "?":
            made += "[^/]"
        elif end > 0:
            inside = part[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            made += f"[^/{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
            at = end
        else:
            made += re.escape(part[at])
        at += 1
    return made
