"""Round-trip times of this machine's TCP connections, from the kernel itself (sock_diag over netlink, TCP_INFO).

No packet is sent and no connection is touched. Connections to this machine itself do not count.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

CONNECTIONS = 1000
"""Connections that are looked at."""
TIME_LIMIT = 1.0
"""Seconds for the whole answer: the kernel gives it at once."""
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, _DONE, _ERROR = 20, 0x301, 3, 2
_ESTABLISHED = 1 << 1
_INFO = 2  # the attribute INET_DIAG_INFO, and its bit in idiag_ext is one less
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states, no socket in particular
_MESSAGE = 72  # sizeof(struct inet_diag_msg)
_DESTINATION = slice(24, 40)  # of the message: 4 bytes, two ports, 16 bytes of source
_ATTRIBUTE = struct.Struct("=HH")
_RTT_AT = 68  # tcp_info.tcpi_rtt, microseconds


def round_trips() -> list[float] | None:
    """Seconds of each established connection, smoothed by the kernel; None where the kernel does not tell."""
    found: list[float] = []
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            for message in _dump(family):
                rtt = parse(family, message)
                if rtt is not None and len(found) < CONNECTIONS:
                    found.append(rtt)
    except (OSError, AttributeError):  # no netlink here, or refused
        return None
    return found


def parse(family: int, message: bytes) -> float | None:
    """Seconds of one inet_diag_msg with its attributes; None for a connection to this machine or without a time."""
    if len(message) < _MESSAGE or _is_local(family, message[_DESTINATION]):
        return None
    at = _MESSAGE
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            return None
        info = message[at + _ATTRIBUTE.size : at + length]
        if kind == _INFO and len(info) >= _RTT_AT + 4:
            microseconds: int = struct.unpack_from("=I", info, _RTT_AT)[0]
            return microseconds / 1e6 if microseconds else None
        at += (length + 3) & ~3
    return None


def _dump(family: int) -> Iterator[bytes]:
    """The messages of one family, without their netlink headers."""
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), _ESTABLISHED)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(TIME_LIMIT)
        kernel.send(header + request)
        for _ in range(CONNECTIONS):
            data, at = kernel.recv(64 * 1024), 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind in (_DONE, _ERROR) or length < _HEADER.size:
                    return
                yield data[at + _HEADER.size : at + length]
                at += (length + 3) & ~3


def _is_local(family: int, address: bytes) -> bool:
    if family == socket.AF_INET:
        return address[0] == 127
    return address == bytes(15) + b"\x01" or address[:13] == bytes(10) + b"\xff\xff\x7f"
