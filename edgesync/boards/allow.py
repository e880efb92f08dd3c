"""The allow-list of a board type: which paths of a config tree a bundle may hold. Pure, the same on both sides.

A pattern is a path whose names may be globs (`*`, `?`, `[abc]`, none of which reaches over a slash), and a name `**`
stands for any number of names: `network/*.conf` is that directory's own files, `app/**` all below app.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

PATTERN_LIMIT = 200
"""Characters of one pattern."""
ANY_DEPTH = "**"


def allows(patterns: Iterable[str], path: str) -> bool:
    """Whether one of the patterns allows the path of a file, relative to its tree."""
    names = path.split("/")
    return any(_matches(pattern, names) for pattern in patterns)


def pattern_problem(pattern: str) -> str:
    """What is wrong with a pattern, "" for nothing."""
    names = pattern.split("/")
    if not 0 < len(pattern) <= PATTERN_LIMIT or not pattern.isprintable():
        return f"1 to {PATTERN_LIMIT} printable characters"
    if not {"", ".", ".."}.isdisjoint(names):
        return "a path below the tree, without empty names, `.` and `..`"
    if any(ANY_DEPTH in name and name != ANY_DEPTH for name in names):
        return "`**` as a whole name, as in `app/**`"
    return ""


def _matches(pattern: str, names: list[str]) -> bool:
    """Every number of names that the pattern may have taken is kept, so no pattern takes more than linear time."""
    parts = pattern.split("/")
    taken = {0}
    for number, part in enumerate(parts):
        if part == ANY_DEPTH:
            least = min(taken, default=len(names)) + (number == len(parts) - 1)  # at the end: at least the file's name
            taken = set(range(least, len(names) + 1))
        else:
            taken = {at + 1 for at in taken if at < len(names) and fnmatchcase(names[at], part)}
    return len(names) in taken
