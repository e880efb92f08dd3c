"""Memory as /proc tells it. Every reader takes the directory, so that a test brings its own; everything is in bytes.

A file that is missing, as pressure is on kernels without PSI, gives None; a field that is missing gives 0.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

FILE_LIMIT = 64 * 1024
_PAIR = re.compile(rb"^([A-Za-z_()]+):?\s+(\d+)", re.MULTILINE)
_PRESSURE = re.compile(rb"^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=[\d.]+ total=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """`available` is what can be had without swapping, which is more than what is free."""

    total: int
    available: int
    swap_total: int
    swap_free: int


@dataclass(frozen=True, slots=True)
class Own:
    """Of this process: resident, its share of that (PSS), and what no file stands behind."""

    resident: int
    share: int
    anonymous: int


@dataclass(frozen=True, slots=True)
class Faults:
    """Since the boot: page faults that had to wait for storage, and processes that the kernel killed for memory."""

    major: int
    oom_kills: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """Percent of the last 10 and 60 seconds in which `some` or all (`full`) tasks waited for memory; totals in us."""

    some10: float
    some60: float
    full10: float
    full60: float
    some_total: int
    full_total: int


def memory(proc: str = "/proc") -> Memory | None:
    """None where there is no MemTotal: then nothing is known."""
    pairs = _pairs(os.path.join(proc, "meminfo"))
    if not pairs or b"MemTotal" not in pairs:
        return None
    kib = {name: 1024 * value for name, value in pairs.items()}
    # Kernels before 3.14 do not say what is available.
    available = kib.get(b"MemAvailable", kib.get(b"MemFree", 0) + kib.get(b"Cached", 0))
    return Memory(kib[b"MemTotal"], available, kib.get(b"SwapTotal", 0), kib.get(b"SwapFree", 0))


def own(proc: str = "/proc") -> Own | None:
    """Takes the kernel 0.1 ms and more: not for every second."""
    pairs = _pairs(os.path.join(proc, "self/smaps_rollup"))
    if not pairs:
        return None
    return Own(*(1024 * pairs.get(name, 0) for name in (b"Rss", b"Pss", b"Anonymous")))


def faults(proc: str = "/proc") -> Faults | None:
    pairs = _pairs(os.path.join(proc, "vmstat"))
    return Faults(pairs.get(b"pgmajfault", 0), pairs.get(b"oom_kill", 0)) if pairs else None


def pressure(path: str = "/proc/pressure/memory") -> Pressure | None:
    """Of the machine, or of a cgroup by its own file."""
    data = read(path)
    found = {match[1]: match for match in _PRESSURE.finditer(data or b"")}
    some, full = found.get(b"some"), found.get(b"full")
    if not some:
        return None
    some_part = float(some[2]), float(some[3]), int(some[4])
    full_part = (float(full[2]), float(full[3]), int(full[4])) if full else (0.0, 0.0, 0)
    return Pressure(some_part[0], some_part[1], full_part[0], full_part[1], some_part[2], full_part[2])


def read(path: str) -> bytes | None:
    """A file of the kernel, at most FILE_LIMIT bytes of it; None where it is not there or not for us."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(FILE_LIMIT)
    except OSError:
        return None


def _pairs(path: str) -> dict[bytes, int]:
    """Lines of `name value` or `name: value`."""
    return {match[1]: int(match[2]) for match in _PAIR.finditer(read(path) or b"")}
