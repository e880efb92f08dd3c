"""The memory controller of the cgroup that a process is in, version 1 or 2, wherever it is mounted.

Mounts are found in /proc/self/mountinfo: a machine may have both versions, with memory in either. A limit holds for all
that lies below, so the tightest between the group and the root of the mount counts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from edgesync.host.proc import read

LEVELS = 32
"""Groups between a group and the root of its mount."""
_UNLIMITED = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group's directory, within the mount that begins at `root`."""

    version: int
    path: str
    root: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes. `used` is without the file cache that the kernel gives back first; `limit` and `high` are None for none.
    `at_limit` counts how often the limit was met, `oom_kills` what the kernel killed for it.
    """

    path: str
    used: int
    limit: int | None
    high: int | None
    swap: int
    at_limit: int
    oom_kills: int


def find(proc: str = "/proc") -> Group | None:
    """The group of this process; None where there is no memory controller."""
    mounts = _mounts((read(os.path.join(proc, "self/mountinfo")) or b"").decode(errors="replace"))
    for line in (read(os.path.join(proc, "self/cgroup")) or b"").decode(errors="replace").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 1 if "memory" in controllers.split(",") else 2 if number == "0" and not controllers else 0
        if version not in mounts:
            continue
        group = _place(version, path, *mounts[version])
        if version == 1 or any(_has_controller(directory) for directory in _up(group)):
            return group
    return None


def at(path: str) -> Group:
    """A group by its directory. Its limits are looked for upwards as far as there are groups."""
    version = 1 if os.path.exists(os.path.join(path, "memory.usage_in_bytes")) else 2
    name = "cgroup.procs"
    root = path
    while os.path.exists(os.path.join(os.path.dirname(root), name)):
        root = os.path.dirname(root)
    return Group(version, path, root)


def usages(group: Group) -> list[Usage]:
    """Of the group and of all above it that can be read, the group first."""
    of_one = _usage_v1 if group.version == 1 else _usage_v2
    return [usage for directory in _up(group) if (usage := of_one(directory))]


def _usage_v1(path: str) -> Usage | None:
    used = _number(path, "memory.usage_in_bytes")
    if used is None:
        return None
    stat = _flat(path, "memory.stat")
    limit, high = _number(path, "memory.limit_in_bytes"), _number(path, "memory.soft_limit_in_bytes")
    with_swap = _number(path, "memory.memsw.usage_in_bytes")
    return Usage(
        path,
        max(0, used - stat.get("total_inactive_file", 0)),
        limit if limit is not None and limit < _UNLIMITED else None,
        high if high is not None and high < _UNLIMITED else None,
        max(0, with_swap - used) if with_swap is not None else stat.get("total_swap", 0),
        _number(path, "memory.failcnt") or 0,
        _flat(path, "memory.oom_control").get("oom_kill", 0),
    )


def _usage_v2(path: str) -> Usage | None:
    used = _number(path, "memory.current")
    if used is None:  # the root has no account of its own
        return None
    events = _flat(path, "memory.events")
    return Usage(
        path,
        max(0, used - _flat(path, "memory.stat").get("inactive_file", 0)),
        _number(path, "memory.max"),
        _number(path, "memory.high"),
        _number(path, "memory.swap.current") or 0,
        events.get("max", 0),
        events.get("oom_kill", 0),
    )


def _mounts(mountinfo: str) -> dict[int, tuple[str, str]]:
    """Version -> (root within the hierarchy, mount point), the first of each."""
    found: dict[int, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            found.setdefault(2, (_unescape(fields[3]), _unescape(fields[4])))
        elif kinds[0] == "cgroup" and "memory" in kinds[2].split(","):
            found.setdefault(1, (_unescape(fields[3]), _unescape(fields[4])))
    return found


def _place(version: int, path: str, root: str, mount: str) -> Group:
    """In a container the mount shows a part of the hierarchy only, perhaps not that where this process is."""
    inside = path[len(root.rstrip("/")) :] if path == root or path.startswith(root.rstrip("/") + "/") else "/"
    directory = os.path.normpath(mount + inside)
    return Group(version, directory if directory.startswith(mount) and os.path.isdir(directory) else mount, mount)


def _up(group: Group) -> list[str]:
    found: list[str] = []
    path = group.path
    while len(found) < LEVELS:
        found.append(path)
        if path == group.root or path == os.path.dirname(path):
            break
        path = os.path.dirname(path)
    return found


def _has_controller(path: str) -> bool:
    return os.path.exists(os.path.join(path, "memory.current"))


def _number(path: str, name: str) -> int | None:
    """None for a file that is not there, and for `max`."""
    text = (read(os.path.join(path, name)) or b"").strip()
    return int(text) if text.isdigit() else None


def _flat(path: str, name: str) -> dict[str, int]:
    """Lines of `key value`."""
    text = (read(os.path.join(path, name)) or b"").decode(errors="replace")
    return {match[1]: int(match[2]) for match in re.finditer(r"^(\w+) (\d+)$", text, re.MULTILINE)}


def _unescape(text: str) -> str:
    """Mount points write spaces and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
