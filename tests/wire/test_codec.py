"""The codec: round trips, limits and bombs."""

from __future__ import annotations

import json
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.wire import codec
from edgesync.wire.codec import PACKED_LIMIT, PLAIN_LIMIT
from edgesync.wire.errors import EdgesyncError, MalformedMessageError, MessageTooLargeError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def deflated(plain: bytes) -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    return deflate.compress(plain) + deflate.flush()


@given(st.binary(max_size=4096))
def test_what_is_packed_is_unpacked(plain: bytes) -> None:
    assert codec.unpack(codec.pack(plain)) == plain


@given(st.dictionaries(TEXT, VALUES, max_size=6))
def test_an_object_survives_its_canonical_bytes(value: dict[str, Any]) -> None:
    assert codec.parse_object(codec.canonical(value)) == value


@given(st.dictionaries(TEXT, VALUES, min_size=2, max_size=6))
def test_equal_objects_have_equal_bytes_in_whatever_order_they_were_made(value: dict[str, Any]) -> None:
    other_way = dict(reversed(value.items()))
    assert codec.canonical(value) == codec.canonical(other_way)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(deflated))
def test_any_bytes_are_a_message_or_a_named_error(packed: bytes) -> None:
    try:
        codec.unpack(packed)
    except EdgesyncError:
        pass


@given(st.binary(max_size=300) | TEXT.map(str.encode) | VALUES.map(json.dumps).map(str.encode))
@example(b"[" * 60_000)
@example(b'{"a":' * 10_000)
@example(b'{"a":' + b"9" * 60_000 + b"}")
@example(b'{"a":' + b"-" * 60_000 + b"}")
@example(b'{"a":1e999999}')
@example(b'\xef\xbb\xbf{"a":1}')
@example(b'{"\xff":1}')
def test_any_plain_bytes_are_an_object_or_a_malformed_message(plain: bytes) -> None:
    try:
        assert isinstance(codec.parse_object(plain), dict)
    except MalformedMessageError:
        pass


@pytest.mark.parametrize("plain", [b"", b"null", b"[]", b'"text"', b"7", b"{", b"{} {}", b"\0"])
def test_only_an_object_is_a_message(plain: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        codec.parse_object(plain)


def test_a_bomb_stops_at_the_limit_and_takes_no_more_memory_than_that() -> None:
    bomb = deflated(bytes(7 << 20))
    assert len(bomb) <= PACKED_LIMIT
    tracemalloc.start()
    with pytest.raises(MessageTooLargeError, match=str(PLAIN_LIMIT)):
        codec.unpack(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * PLAIN_LIMIT


def test_a_message_above_the_packed_limit_is_not_inflated() -> None:
    with pytest.raises(MessageTooLargeError, match=str(PACKED_LIMIT)):
        codec.unpack(b"\xff" * (PACKED_LIMIT + 1))


@pytest.mark.parametrize("size", [PLAIN_LIMIT - 1, PLAIN_LIMIT])
def test_the_largest_message_passes(size: int) -> None:
    assert codec.unpack(codec.pack(bytes(size))) == bytes(size)


@pytest.mark.parametrize("plain", [bytes(PLAIN_LIMIT + 1), random.Random(1).randbytes(PACKED_LIMIT)])
def test_nothing_is_packed_that_the_other_side_would_refuse(plain: bytes) -> None:
    with pytest.raises(MessageTooLargeError):
        codec.pack(plain)


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_message_that_is_cut_off_or_has_more_behind_it_is_malformed(plain: bytes, data: st.DataObject) -> None:
    packed = codec.pack(plain)
    for wrong in (packed[: data.draw(st.integers(0, len(packed) - 1))], packed + b"\0"):
        with pytest.raises(MalformedMessageError):
            codec.unpack(wrong)
