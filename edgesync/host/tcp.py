"""What a TCP connection has carried, from the kernel's own account (TCP_INFO of Linux).

An operator pays for packets: payload, and the headers of every segment, acknowledgements and handshakes too. The kernel
counts payload and segments at this end, so a packet that was lost on its way here is not in the count.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any

_BYTES = struct.Struct("=QQII")
_BYTES_AT = 120  # struct tcp_info: tcpi_bytes_acked, tcpi_bytes_received, tcpi_segs_out, tcpi_segs_in
_SENT = struct.Struct("=Q")
_SENT_AT = 200  # tcpi_bytes_sent: what was sent again is in it; since Linux 4.19
_OPTIONS_AT, _TIMESTAMPS = 5, 1  # tcpi_options, TCPI_OPT_TIMESTAMPS

_HEADERS = {socket.AF_INET: 40, socket.AF_INET6: 60}
"""Bytes of the IP and TCP headers of a segment without options."""
_TIMESTAMP_OPTION = 12
_SYN_OPTIONS = 16
"""Bytes that the first segment of each side has beyond the others'."""
SYN, CLOSING, REFUSED = 60, 156, 100
"""Bytes at IP level: a first segment, what follows the last look at a connection (FIN, its acknowledgement, the other
side's FIN or the answer to it), and an attempt that was refused.
"""
SYN_TRIES = 5
"""First segments that a kernel sends in the 30 s that an attempt may take."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Bytes of one or several connections: payload that was received, and acknowledged by the other side (`inward`,
    `outward`; TLS is payload), and `total` at IP level, both ways, all headers included.
    """

    inward: int = 0
    outward: int = 0
    total: int = 0

    def __add__(self, other: Carried) -> Carried:
        return Carried(self.inward + other.inward, self.outward + other.outward, self.total + other.total)


def carried(sock: Any) -> Carried:
    """By a socket that is open so far; nothing for None and for one that is closed."""
    if sock is None:
        return Carried()
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:  # closed in between
        return Carried()
    if len(info) < _BYTES_AT + _BYTES.size:
        return Carried()
    acked, received, segments_out, segments_in = _BYTES.unpack_from(info, _BYTES_AT)
    sent = _SENT.unpack_from(info, _SENT_AT)[0] if len(info) >= _SENT_AT + _SENT.size else acked
    header = _HEADERS.get(sock.family, 60) + (_TIMESTAMP_OPTION if info[_OPTIONS_AT] & _TIMESTAMPS else 0)
    return Carried(received, acked, sent + received + header * (segments_out + segments_in) + _SYN_OPTIONS)


def attempted(error: OSError) -> Carried:
    """By an attempt to connect that came to nothing."""
    if isinstance(error, TimeoutError):
        return Carried(total=SYN_TRIES * SYN)
    return Carried(total=REFUSED if isinstance(error, ConnectionRefusedError) else 0)
