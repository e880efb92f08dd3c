"""Processor, disks and network as /proc tells them: totals since the boot. Every reader takes the directory.

Whole disks only, no partitions; no loopback interface, and none that has never carried anything. What a kernel does
not tell is empty.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from edgesync.host.proc import read

TICKS = os.sysconf("SC_CLK_TCK")
SECTOR = 512
"""Bytes; /proc/diskstats counts so whatever the disk's own sector is."""
DEVICES = 32
"""Disks, and interfaces, that are told; a machine with more has virtual ones."""
_MODES = ("user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal")


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes and operations."""

    read_bytes: int
    written_bytes: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class Interface:
    """Bytes, packets, errors and drops, in and out."""

    bytes: tuple[int, int]
    packets: tuple[int, int]
    errors: tuple[int, int]
    dropped: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tcp:
    """`established` and `time_wait` are sockets of this moment; segments count since the boot."""

    established: int
    time_wait: int
    segments_out: int
    retransmitted: int


def boot_time(proc: str = "/proc") -> int:
    """Seconds since 1970, 0 where it is not known."""
    for line in _lines(proc, "stat"):
        if line[:1] == ["btime"] and len(line) > 1 and line[1].isdigit():
            return int(line[1])
    return 0


def cpu(proc: str = "/proc") -> Mapping[str, float]:
    """Seconds of all processors together by mode."""
    for line in _lines(proc, "stat"):
        if line[:1] == ["cpu"]:
            return {mode: int(ticks) / TICKS for mode, ticks in zip(_MODES, line[1:], strict=False) if ticks.isdigit()}
    return {}


def disks(proc: str = "/proc", sys: str = "/sys") -> Mapping[str, Disk]:
    try:
        whole = set(os.listdir(os.path.join(sys, "block")))
    except OSError:
        return {}
    found: dict[str, Disk] = {}
    for line in _lines(proc, "diskstats"):
        if len(line) < 11 or line[2] not in whole or line[2].startswith(("loop", "ram", "zram")):
            continue
        numbers = _numbers(line[3:11])
        if len(numbers) == 8 and len(found) < DEVICES and any(numbers):
            found[line[2]] = Disk(numbers[2] * SECTOR, numbers[6] * SECTOR, numbers[0], numbers[4])
    return found


def interfaces(proc: str = "/proc") -> Mapping[str, Interface]:
    found: dict[str, Interface] = {}
    for line in (read(os.path.join(proc, "net/dev")) or b"").decode(errors="replace").splitlines():
        name, colon, rest = line.partition(":")
        numbers = _numbers(rest.split())
        idle = not any(numbers)
        if not colon or len(numbers) < 12 or idle or name.strip() == "lo" or len(found) >= DEVICES:
            continue
        pairs = ((numbers[at], numbers[at + 8]) for at in range(4))
        found[name.strip()] = Interface(*pairs)
    return found


def tcp(proc: str = "/proc") -> Tcp | None:
    """Of IPv4 and IPv6 together, as the kernel counts."""
    titles: list[str] = []
    values: dict[str, int] = {}
    for line in _lines(proc, "net/snmp"):
        if line[:1] == ["Tcp:"]:
            if titles:
                values = dict(zip(titles, _numbers(line[1:]), strict=False))
                break
            titles = line[1:]
    sockets = next((line for line in _lines(proc, "net/sockstat") if line[:1] == ["TCP:"]), [])
    waiting = dict(zip(sockets[1::2], _numbers(sockets[2::2]), strict=False)).get("tw", 0)
    if not values:
        return None
    return Tcp(values.get("CurrEstab", 0), waiting, values.get("OutSegs", 0), values.get("RetransSegs", 0))


def _lines(proc: str, name: str) -> list[list[str]]:
    text = (read(os.path.join(proc, name)) or b"").decode(errors="replace")
    return [line.split() for line in text.splitlines()]


def _numbers(words: list[str]) -> list[int]:
    """Of words that are numbers; nothing if one is not. Tcp's MaxConn is -1."""
    try:
        return [int(word) for word in words]
    except ValueError:
        return []
