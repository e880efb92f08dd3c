"""The connection table that forgets: only what it must answer is answered, and so that the sender accepts it."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from edgesync.sim.nat import FLOW_LIMIT, ConnectionTable

FIN, SYN, RST, ACK = 1, 2, 4, 16
BOARD, HUB = socket.inet_aton("10.77.1.1"), socket.inet_aton("10.77.0.1")


def segment(flags, *, port=1000, sequence=7, acknowledged=9, payload=b"", back=False):
    ends = [(BOARD, port), (HUB, 8883)]
    (source, sport), (destination, dport) = ends[::-1] if back else ends
    tcp = struct.pack("!HHIIBBHHH", sport, dport, sequence, acknowledged, 5 << 4, flags, 100, 0, 0) + payload
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + destination + tcp


def checksum_is_right(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


@given(st.lists(st.binary(max_size=80) | st.builds(segment, st.integers(0, 255))))
def test_no_bytes_break_the_table(packets):
    table = ConnectionTable()
    for packet in packets:
        table.check(packet)
        table.arrived(packet)
    table.forget()
    for packet in packets:
        table.check(packet)
        table.arrived(packet)


@given(st.integers(0, 2**32 - 1), st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_the_reset_for_an_end_has_the_number_that_it_expects_whatever_the_order_of_its_segments(start, texts):
    table = ConnectionTable()
    segments, sequence = [], start
    for text in texts:
        segments.append(segment(ACK, sequence=sequence, payload=text))
        sequence = (sequence + len(text)) % 2**32
    for packet in [*segments, *segments[::-1]]:
        assert table.check(packet) is None
        table.arrived(packet)
    (answer,) = table.forget()
    assert answer[16:20] == HUB
    assert struct.unpack_from("!HHI", answer, 20) == (1000, 8883, sequence)


def test_everything_passes_until_something_was_forgotten():
    table = ConnectionTable()
    assert table.check(segment(ACK, payload=b"x")) is None


def test_forgetting_tells_both_ends_with_a_reset_each():
    table = ConnectionTable()
    for packet in (segment(ACK, sequence=500, payload=b"abcd"), segment(ACK, sequence=900, back=True)):
        assert table.check(packet) is None
        table.arrived(packet)
    answers = sorted(table.forget())
    assert {a[16:20] for a in answers} == {BOARD, HUB}
    assert {struct.unpack_from("!IIBB", a, 24) for a in answers} == {(504, 0, 5 << 4, RST), (900, 0, 5 << 4, RST)}
    assert table.forget() == []


def test_a_forgotten_connection_is_answered_with_the_reset_that_its_sender_expects():
    table = ConnectionTable()
    table.forget()
    answer = table.check(segment(ACK, sequence=500, acknowledged=77, payload=b"abcd"))
    assert answer[12:20] == HUB + BOARD
    assert struct.unpack_from("!HHIIBB", answer, 20) == (8883, 1000, 77, 0, 5 << 4, RST)
    assert checksum_is_right(answer[:20])
    assert checksum_is_right(answer[12:20] + struct.pack("!HH", 6, len(answer) - 20) + answer[20:])


def test_a_segment_without_acknowledgement_is_acknowledged_by_the_reset():
    table = ConnectionTable()
    table.forget()
    answer = table.check(segment(FIN, sequence=500, payload=b"abcd"))
    assert struct.unpack_from("!IIBB", answer, 24) == (0, 505, 5 << 4, RST | ACK)


def test_a_new_connection_is_known_both_ways_and_others_stay_forgotten():
    table = ConnectionTable()
    table.forget()
    assert table.check(segment(SYN, port=2000)) is None
    assert table.check(segment(SYN | ACK, port=2000, back=True)) is None
    assert table.check(segment(ACK, port=2000)) is None
    assert table.check(segment(ACK, port=1000)) is not None
    table.forget()
    assert table.check(segment(ACK, port=2000)) is not None


def test_a_reset_is_never_answered_with_a_reset():
    table = ConnectionTable()
    table.forget()
    assert table.check(segment(RST)) == b""


def test_other_protocols_pass():
    table = ConnectionTable()
    table.forget()
    udp = bytearray(segment(ACK))
    udp[9] = 17
    assert table.check(bytes(udp)) is None


def test_a_flood_of_connections_forgets_the_oldest():
    table = ConnectionTable()
    table.forget()
    for port in range(1, FLOW_LIMIT + 2):
        table.check(segment(SYN, port=port))
    assert table.check(segment(ACK, port=1)) is not None
    assert table.check(segment(ACK, port=FLOW_LIMIT + 1)) is None
