"""Telemetry on a narrow link: it comes back as it was, and any bytes are telemetry or a named error."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.ids import Signal
from collector_ext.otlp import compact
from collector_ext.otlp.compact import NEWEST, pack, unpack
from edgesync.wire.errors import EdgesyncError, MalformedMessageError, MessageTooLargeError, UnknownFormatError

SIGNALS = st.sampled_from(Signal)


@given(SIGNALS, st.binary(max_size=400), st.integers(0, NEWEST))
def test_what_is_packed_comes_back(signal: Signal, request: bytes, number: int) -> None:
    assert unpack(pack(signal, request, number)) == (signal, request)


@given(st.binary(max_size=60))
def test_any_bytes_are_telemetry_or_a_named_error(data: bytes) -> None:
    try:
        unpack(data)
    except EdgesyncError:
        return


@given(SIGNALS, st.binary(min_size=30, max_size=100), st.data())
def test_cut_off_or_followed_by_something_it_is_malformed(signal: Signal, request: bytes, data: st.DataObject) -> None:
    packed = pack(signal, request)
    with pytest.raises(EdgesyncError):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(MalformedMessageError):
        unpack(packed + b"x")


def test_a_bomb_stops_at_the_limit() -> None:
    deflate = zlib.compressobj(9, wbits=-15)
    bomb = b"\0" + deflate.compress(bytes(compact.PLAIN_LIMIT + 1)) + deflate.flush()
    with pytest.raises(MessageTooLargeError, match="inflates"):
        unpack(bomb)


def test_a_dictionary_of_a_newer_version_is_told_from_nonsense() -> None:
    with pytest.raises(UnknownFormatError, match=str(NEWEST + 1)):
        unpack(bytes([NEWEST + 1 << 2]) + b"xx")


def test_what_no_collector_would_read_is_not_packed() -> None:
    with pytest.raises(MessageTooLargeError):
        pack(Signal.LOGS, bytes(compact.PLAIN_LIMIT + 1))
