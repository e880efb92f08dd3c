"""A carrier's connection table that can forget: how TCP connections are cut in the field while the link stays up.

It stands at the server's end of the link. After `forget`, a segment of a connection that it does not know is thrown
away and answered with RST, as a NAT that was restarted does; a new SYN makes a connection known again. Pure: bytes
in, bytes out.
"""

from __future__ import annotations

import struct

FLOW_LIMIT = 4096
"""Connections that are remembered; the oldest is forgotten first, as in a real table."""

_TCP = 6
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16

Flow = frozenset[bytes]


class ConnectionTable:
    def __init__(self) -> None:
        self._known: dict[Flow, None] | None = None  # None: nothing was ever forgotten, everything passes

    def forget(self) -> None:
        """Forget every connection."""
        self._known = {}

    def check(self, packet: bytes) -> bytes | None:
        """None lets an IPv4 packet pass. Bytes mean: throw it away and send these to its sender (empty: nothing)."""
        if self._known is None or len(packet) < 20 or packet[9] != _TCP:
            return None
        head = (packet[0] & 15) * 4
        if len(packet) < head + 20:
            return None
        flow = frozenset((packet[12:16] + packet[head : head + 2], packet[16:20] + packet[head + 2 : head + 4]))
        flags = packet[head + 13]
        if flags & _SYN and not flags & _ACK:
            while len(self._known) >= FLOW_LIMIT:
                del self._known[next(iter(self._known))]
            self._known[flow] = None
        if flow in self._known:
            return None
        return b"" if flags & _RST else _reset_for(packet, head, flags)


def _reset_for(packet: bytes, head: int, flags: int) -> bytes:
    """The RST that the sender of `packet` accepts: its sequence number is what that sender expects next."""
    total, sequence, acknowledged = struct.unpack_from("!2xH", packet)[0], *struct.unpack_from("!II", packet, head + 4)
    source, destination = packet[12:16], packet[16:20]
    ports = packet[head + 2 : head + 4] + packet[head : head + 2]
    if flags & _ACK:
        numbers, answer = (acknowledged, 0), _RST
    else:
        payload = total - head - (packet[head + 12] >> 4) * 4
        extra = payload + bool(flags & _SYN) + bool(flags & _FIN)
        numbers, answer = (0, (sequence + extra) & 0xFFFFFFFF), _RST | _ACK
    tcp = ports + struct.pack("!IIBBHHH", *numbers, 5 << 4, answer, 0, 0, 0)
    pseudo = destination + source + struct.pack("!BBH", 0, _TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, _TCP, 0) + destination + source
    return ip[:10] + _checksum(ip) + ip[12:] + tcp


def _checksum(data: bytes) -> bytes:
    """The Internet checksum of an even number of bytes (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
