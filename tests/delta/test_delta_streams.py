"""Packed streams: what is packed is unpacked, and nothing past a limit ever is."""

import lzma
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import streams
from edgesync.delta.format import SEGMENT
from edgesync.wire.errors import DeltaCorruptError

NAMES = ("copies", "pieces", "regions", "corrections", "gaps", "values", "differences", "changes", "extra")
TEXT = b"some new bytes, and some more of them"


def packed_in_every_way(data, name="extra"):
    return [
        bytes([streams.STORED]) + data,
        bytes([streams.DEFLATED]) + streams._deflated(data),
        streams._lzma(data, 3, 0, 2),
    ]


@given(st.sampled_from(NAMES), st.binary(max_size=300), st.booleans())
def test_any_stream_comes_back(name, data, quick):
    packed = streams.pack(name, data, quick=quick)
    assert streams.unpack("here", name, packed, len(data)) == data
    assert len(packed) <= len(data) + 1


def test_a_stream_of_nothing_has_no_bytes():
    assert streams.pack("extra", b"") == b""
    assert streams.unpack("here", "extra", b"", 0) == b""


def test_all_methods_are_read():
    for packed in packed_in_every_way(TEXT):
        assert streams.unpack("here", "extra", packed, len(TEXT)) == TEXT


@given(st.sampled_from(NAMES), st.binary(min_size=1, max_size=300), st.integers(0, 400))
def test_any_bytes_as_a_stream_stay_within_the_limit_or_are_refused(name, data, limit):
    try:
        assert len(streams.unpack("here", name, data, limit)) <= limit
    except DeltaCorruptError:
        pass


@pytest.mark.parametrize("method", range(3))
def test_a_bomb_stops_at_the_limit(method):
    packed = packed_in_every_way(bytes(8 << 20))[method]
    tracemalloc.start()
    try:
        with pytest.raises(DeltaCorruptError, match=r"segment 3, extra: unpacks to more than 1048576"):
            streams.unpack("segment 3", "extra", packed, SEGMENT)
        assert tracemalloc.get_traced_memory()[1] < 4 * SEGMENT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [lambda data: data[:-1], lambda data: data + b"\x00", lambda data: data * 2])
@pytest.mark.parametrize("method", [1, 2])
def test_a_stream_that_is_cut_or_has_more_behind_it_is_refused(cut, method):
    with pytest.raises(DeltaCorruptError, match="segment 0, extra"):
        streams.unpack("segment 0", "extra", cut(packed_in_every_way(TEXT)[method]), 1000)


def test_methods_that_do_not_exist_are_refused():
    for method in range(256):
        lc, lp, pb = method % 9, method // 9 % 5, method // 45
        if method in (streams.STORED, streams.DEFLATED) or (lc + lp <= 4 and pb <= 4):
            continue
        with pytest.raises(DeltaCorruptError, match=f"segment 0, extra: method {method} is none"):
            streams.unpack("segment 0", "extra", bytes([method]) + TEXT, 1000)


def test_the_worst_stream_fits_the_limit_for_its_packed_bytes():
    noise = bytes(range(256)) * 4096
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
    for packed in (lzma.compress(noise, format=lzma.FORMAT_RAW, filters=filters), zlib.compress(noise, 0)):
        assert streams.packed_limit(len(noise)) > len(noise) + len(noise) // 65536 * 3 + 1
        assert streams.packed_limit(len(noise)) > len(packed)


def test_short_streams_are_not_made_longer_by_their_packing():
    assert len(streams.pack("copies", b"12345678")) == 9
    assert len(streams.pack("extra", b"interval: 60\n" * 3)) < 24
