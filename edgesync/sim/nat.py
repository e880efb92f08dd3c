"""A carrier's connection table that can forget: how TCP connections are cut in the field while the link stays up.

It stands at the server's end of the link. When it forgets, it tells both ends of every connection with RST; a segment
that still comes is thrown away and answered with RST too, and a new SYN makes a connection known again. Pure: bytes
in, bytes out. Packets are IPv4; what is not TCP passes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

FLOW_LIMIT = 4096
"""Connections that are remembered; the oldest is forgotten first, as in a real table."""

_TCP = 6
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_HALF = 1 << 31  # sequence numbers wrap: less than half the circle ahead is later

End = bytes  # address and port, 6 bytes


@dataclass(frozen=True, slots=True)
class _Segment:
    source: End
    target: End
    sequence: int
    acknowledged: int
    flags: int
    end: int  # the sequence number after its last byte

    @staticmethod
    def parse(packet: bytes) -> _Segment | None:
        """None for what is not TCP, or too short for it."""
        head = (packet[0] & 15) * 4 if packet else 0
        if head < 20 or len(packet) < head + 20 or packet[9] != _TCP:
            return None
        sequence, acknowledged, offset, flags = struct.unpack_from("!IIBB", packet, head + 4)
        payload = max(0, len(packet) - head - (offset >> 4) * 4)
        return _Segment(
            packet[12:16] + packet[head : head + 2],
            packet[16:20] + packet[head + 2 : head + 4],
            sequence,
            acknowledged,
            flags,
            (sequence + payload + bool(flags & _SYN) + bool(flags & _FIN)) % (1 << 32),
        )


class ConnectionTable:
    def __init__(self) -> None:
        self._strict = False  # nothing was ever forgotten: everything passes
        # For each connection, what each of its ends expects next.
        self._flows: dict[frozenset[End], dict[End, int]] = {}

    def check(self, packet: bytes) -> bytes | None:
        """None lets a packet pass. Bytes mean: throw it away and send these to its sender (empty: nothing)."""
        segment = _Segment.parse(packet)
        if segment is None:
            return None
        flow = frozenset((segment.source, segment.target))
        if not self._strict or (segment.flags & (_SYN | _ACK)) == _SYN:
            while flow not in self._flows and len(self._flows) >= FLOW_LIMIT:
                del self._flows[next(iter(self._flows))]
            self._flows.setdefault(flow, {})
        if flow in self._flows:
            return None
        if segment.flags & _RST:
            return b""
        if segment.flags & _ACK:
            return _reset(segment.target, segment.source, segment.acknowledged)
        return _reset(segment.target, segment.source, 0, segment.end)

    def arrived(self, packet: bytes) -> None:
        """A packet has reached its end of the connection."""
        segment = _Segment.parse(packet)
        if segment is None:
            return
        expected = self._flows.get(frozenset((segment.source, segment.target)))
        if expected is not None and (segment.end - expected.get(segment.target, segment.end)) % (1 << 32) < _HALF:
            expected[segment.target] = segment.end

    def forget(self) -> list[bytes]:
        """Forget every connection. The resets are for their ends; each has its receiver's address as destination."""
        flows, self._flows, self._strict = self._flows, {}, True
        answers = []
        for flow, expected in flows.items():
            for end, sequence in expected.items():
                (other,) = flow - {end} or {end}
                answers.append(_reset(other, end, sequence))
        return answers


def _reset(source: End, target: End, sequence: int, acknowledged: int | None = None) -> bytes:
    """An IPv4 packet with RST from `source` to `target`, which accepts it if it expects just that number next."""
    flags = _RST if acknowledged is None else _RST | _ACK
    ports = source[4:] + target[4:]
    tcp = ports + struct.pack("!IIBBHHH", sequence, acknowledged or 0, 5 << 4, flags, 0, 0, 0)
    addresses = source[:4] + target[:4]
    tcp = tcp[:16] + _checksum(addresses + struct.pack("!BBH", 0, _TCP, len(tcp)) + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, _TCP, 0) + addresses
    return ip[:10] + _checksum(ip) + ip[12:] + tcp


def _checksum(data: bytes) -> bytes:
    """The Internet checksum of an even number of bytes (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
