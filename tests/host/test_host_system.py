"""Processor, disks, network and round-trip times as the kernel tells them."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.host import sockdiag, system

STAT = "cpu  100 200 300 400 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1700000000\n"
DISKSTATS = """\
   7       0 loop0 26 0 13312 4 0 0 0 0 0 8 4
 179       0 mmcblk0 10 1 200 4 20 2 300 5 0 8 4 0 0 0 0 0 0
 179       1 mmcblk0p1 9 1 100 4 10 2 100 5 0 8 4 0 0 0 0 0 0
 179       8 mmcblk1 0 0 0 0 0 0 0 0 0 0 0
"""
NET = """\
Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0
  eth0: 1000 10 1 2 0 0 0 0 500 5 3 4 0 0 0 0
  idle: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 2 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens CurrEstab InSegs OutSegs RetransSegs
Tcp: 1 200 120000 -1 9 10 88 99 7
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for name, text in {
        "proc/stat": STAT,
        "proc/diskstats": DISKSTATS,
        "proc/net/dev": NET,
        "proc/net/snmp": SNMP,
        "proc/net/sockstat": "sockets: used 37\nTCP: inuse 13 orphan 0 tw 433 alloc 14 mem 0\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for disk in ("mmcblk0", "mmcblk1", "loop0"):
        (tmp_path / "sys/block" / disk).mkdir(parents=True)
    return tmp_path


def test_totals_are_in_seconds_bytes_and_operations(machine: Path) -> None:
    proc, sys = str(machine / "proc"), str(machine / "sys")
    assert system.boot_time(proc) == 1_700_000_000
    seconds = {mode: ticks * system.TICKS for mode, ticks in system.cpu(proc).items()}
    assert {mode: round(ticks) for mode, ticks in seconds.items()} == {
        "user": 100,
        "nice": 200,
        "system": 300,
        "idle": 400,
        "iowait": 50,
        "interrupt": 6,
        "softirq": 7,
        "steal": 8,
    }
    assert system.disks(proc, sys) == {"mmcblk0": system.Disk(200 * 512, 300 * 512, 10, 20)}
    assert system.interfaces(proc) == {"eth0": system.Interface((1000, 500), (10, 5), (1, 3), (2, 4))}
    assert system.tcp(proc) == system.Tcp(10, 433, 99, 7)


def test_what_a_kernel_does_not_tell_is_empty(tmp_path: Path) -> None:
    nowhere = str(tmp_path)
    assert (system.boot_time(nowhere), system.cpu(nowhere), system.disks(nowhere, nowhere)) == (0, {}, {})
    assert (system.interfaces(nowhere), system.tcp(nowhere)) == ({}, None)


@given(st.binary(max_size=200))
def test_whatever_a_kernel_writes_is_read_or_left_out(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    place = tmp_path_factory.getbasetemp() / "any"
    (place / "net").mkdir(parents=True, exist_ok=True)
    (place / "block").mkdir(exist_ok=True)
    for name in ("stat", "diskstats", "net/dev", "net/snmp", "net/sockstat"):
        (place / name).write_bytes(data)
    system.boot_time(str(place)), system.cpu(str(place)), system.disks(str(place), str(place))
    system.interfaces(str(place)), system.tcp(str(place))


# --- round-trip times ---------------------------------------------------------------------------------------------


def message(family: int, destination: bytes, rtt: int) -> bytes:
    """An inet_diag_msg with two attributes, the second of them TCP_INFO."""
    head = struct.pack("=BBBB", family, 1, 0, 0) + bytes(4) + bytes(16) + destination.ljust(16, b"\0") + bytes(32)
    info = bytes(68) + struct.pack("=II", rtt, 5)
    other = struct.pack("=HH", 4 + 5, 8) + b"cubic" + bytes(3)
    return head + other + struct.pack("=HH", 4 + len(info), 2) + info


def test_a_round_trip_is_read_in_seconds_and_connections_to_this_machine_do_not_count() -> None:
    for family, near, far in (
        (socket.AF_INET, b"\x7f\0\0\1", b"\x0a\0\0\1"),
        (socket.AF_INET6, bytes(15) + b"\1", b"\x20\1" + bytes(14)),
    ):
        assert sockdiag.parse(family, message(family, far, 612_000)) == 0.612
        assert sockdiag.parse(family, message(family, near, 612_000)) is None
        assert sockdiag.parse(family, message(family, far, 0)) is None
    mapped = bytes(10) + b"\xff\xff\x7f\0\0\1"
    assert sockdiag.parse(socket.AF_INET6, message(socket.AF_INET6, mapped, 5)) is None


@given(st.binary(max_size=300))
def test_any_message_is_read_or_left_out(data: bytes) -> None:
    found = sockdiag.parse(socket.AF_INET, data)
    assert found is None or found > 0


def test_the_kernel_tells_the_round_trip_of_a_real_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    if sockdiag.round_trips() is None:
        pytest.skip("this kernel has no sock_diag for TCP")
    monkeypatch.setattr(sockdiag, "_is_local", lambda _family, _address: False)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        accepted.sendall(b"x")
        assert client.recv(1) == b"x"
        found = sockdiag.round_trips()
        accepted.close()
    assert found
    assert all(0 < seconds < 60 for seconds in found)
