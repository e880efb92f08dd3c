"""Index and leaves of a blob: any bytes are a value or a named error."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.wire import blob as layout
from edgesync.wire.blob import BLOCK_MIN, HASH, INDEX_LIMIT, LENGTH_LIMIT, LONE, PIECE, PIECES_PER_LEAF, BlobIndex
from edgesync.wire.errors import BlobCorruptError, EdgesyncError, MalformedMessageError, UnknownFormatError
from edgesync.wire.ids import BlobId

BLOCKS = st.sampled_from([512, 1024, 2048, 4096, 8192, 16384])
LENGTHS = st.one_of(
    st.integers(LONE + 1, 3 * PIECE),
    st.integers(-2, 2).map(lambda n: PIECES_PER_LEAF * PIECE + n),
    st.integers(PIECE * (PIECES_PER_LEAF - 1), PIECE * (PIECES_PER_LEAF + 2)),
)


def cut(data: bytes) -> list[bytes]:
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def hashes(length: int) -> list[bytes]:
    """As many hashes as a blob of this length has pieces, without the blob."""
    return [b"%016d" % number for number in range(-(-length // PIECE))]


def index_of(length: int, block: int = layout.BLOCK) -> tuple[BlobIndex, list[bytes]]:
    """Index and leaves of a blob of any length, without its bytes."""
    found = hashes(length)
    leaves = [b"".join(found[at : at + PIECES_PER_LEAF]) for at in range(0, len(found), PIECES_PER_LEAF)]
    return BlobIndex(length, PIECE, block, tuple(map(layout.short_hash, leaves))), leaves


def named(data: bytes) -> BlobId:
    """The id that such an index would have."""
    return BlobId(layout.short_hash(data).hex())


@given(st.binary(min_size=100, max_size=200), st.integers(LONE // 100 + 1, 800), BLOCKS)
@example(b"abcdefgh" * 16, LONE // 128 + 1, 8192)
def test_the_blocks_of_all_pieces_are_the_blob_and_as_many_as_the_index_says(
    seed: bytes, times: int, block: int
) -> None:
    data = seed * times
    index, leaves = layout.build(iter(cut(data)), len(data), block)
    blocks = [list(layout.split(index, number, piece)) for number, piece in enumerate(cut(data))]
    assert b"".join(b"".join(piece) for piece in blocks) == data
    assert sum(map(len, blocks)) == index.blocks
    for number, piece in enumerate(blocks):
        assert [len(part) for part in piece] == [index.block_length(number, at) for at in range(len(piece))]
    assert layout.parse_index(index.blob, index.encode()) == index
    assert [h for n, leaf in enumerate(leaves) for h in layout.parse_leaf(index, n, leaf)] == [
        layout.short_hash(piece) for piece in cut(data)
    ]


@given(LENGTHS | st.integers(LONE + 1, LENGTH_LIMIT), BLOCKS)
@example(LENGTH_LIMIT, layout.BLOCK)
@example(LONE + 1, 16384)
def test_every_blob_that_can_be_built_has_an_index_of_one_message_that_adds_up(length: int, block: int) -> None:
    count = -(-length // (PIECE * PIECES_PER_LEAF))
    index = BlobIndex(length, PIECE, block, (bytes(HASH),) * count)
    encoded = index.encode()
    assert len(encoded) <= INDEX_LIMIT
    assert layout.index_size(encoded + b"leaves behind it") == len(encoded)
    assert layout.parse_index(index.blob, encoded) == index
    assert index.piece_length(index.pieces - 1) + (index.pieces - 1) * PIECE == length
    assert 0 < index.block_length(index.pieces - 1, index.blocks_of(index.pieces - 1) - 1) <= block
    assert sum(index.leaf_length(number) for number in range(count)) == index.pieces * HASH


@given(st.binary(min_size=1, max_size=LONE).filter(lambda data: not data.startswith(b"esb")))
@example(b"x" * LONE)
def test_a_small_blob_is_lone_its_bytes_stand_in_the_place_of_an_index_and_their_hash_is_its_id(data: bytes) -> None:
    index, leaves = layout.build(iter([data]), len(data))
    assert not leaves
    assert index.encode() == index.lone == data
    assert index.blob == named(data)
    assert (index.pieces, index.blocks) == (0, 0)
    assert layout.index_size(index.encode()) == len(data)
    assert layout.parse_index(index.blob, data) == index


@pytest.mark.parametrize("data", [b"", b"x" * (LONE + 1), b"esb1", b"esb7 and so on"])
def test_what_is_too_long_or_looks_like_an_index_is_no_lone_blob(data: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="lone"):
        layout.lone(data)


@pytest.mark.parametrize("length", [-1, 0, LENGTH_LIMIT + 1])
def test_no_blob_is_built_of_nothing_or_of_more_than_an_index_can_name(length: int) -> None:
    with pytest.raises(MalformedMessageError, match=str(LENGTH_LIMIT)):
        layout.build([], length)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"esb1" + data))
def test_any_bytes_with_their_own_id_are_an_index_or_a_named_error(data: bytes) -> None:
    try:
        index = layout.parse_index(named(data), data)
    except EdgesyncError:
        return
    assert index.encode() == data


@given(
    st.integers(0, 2**64 - 1) | LENGTHS,
    st.sampled_from([0, 1, PIECE, 2 * PIECE, 2**32 - 1]),
    st.sampled_from([0, 1, 511, 512, 513, 1000, 8192, 16384, 16385, 32768, 2**32 - 1]),
    st.integers(0, 600) | st.just(2**32 - 1),
    st.integers(0, 520),
)
def test_an_index_whose_sizes_contradict_one_another_is_malformed(
    length: int, piece: int, block: int, count: int, there: int
) -> None:
    data = struct.pack("<4sQIII", b"esb1", length, piece, block, count) + bytes(there * HASH)
    right = (
        LONE < length <= LENGTH_LIMIT
        and piece == PIECE
        and BLOCK_MIN <= block <= PIECE
        and PIECE % block == 0
        and count == there == -(-length // (PIECE * PIECES_PER_LEAF))
    )
    assert layout.index_size(data) <= max(INDEX_LIMIT, len(data))
    if right:
        assert layout.parse_index(named(data), data).length == length
        return
    with pytest.raises((MalformedMessageError, BlobCorruptError)):  # corrupt: longer than any index
        layout.parse_index(named(data), data)


@given(LENGTHS, st.data())
def test_an_index_with_one_other_bit_is_corrupt(length: int, data: st.DataObject) -> None:
    index = index_of(length)[0]
    spoilt = bytearray(index.encode())
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BlobCorruptError, match=index.blob):
        layout.parse_index(index.blob, bytes(spoilt))


def test_an_index_of_another_version_is_told_from_a_corrupt_one() -> None:
    data = b"esb2" + index_of(PIECE)[0].encode()[4:]
    with pytest.raises(UnknownFormatError, match="esb2"):
        layout.parse_index(named(data), data)


@given(LENGTHS, st.data())
def test_a_leaf_is_taken_in_its_own_place_only_and_whole(length: int, data: st.DataObject) -> None:
    index, leaves = index_of(length)
    number = data.draw(st.integers(0, len(leaves) - 1))
    leaf = leaves[number]
    assert len(layout.parse_leaf(index, number, leaf)) * HASH == index.leaf_length(number)
    for other in (leaf[:-1], leaf + b"\0", leaf[:-HASH], b"", bytes([leaf[0] ^ 1]) + leaf[1:]):
        with pytest.raises(BlobCorruptError):
            layout.parse_leaf(index, number, other)
    for place in (number + 1, -1, len(leaves), 1 << 40):
        with pytest.raises(BlobCorruptError):
            layout.parse_leaf(index, place, leaf)


@pytest.mark.parametrize("leaf", [b"", b"x" * HASH, b"x" * 15, b"x" * 33, b"x" * 3 * HASH, b"x" * 16384])
def test_a_leaf_that_an_index_names_but_that_has_not_a_hash_for_each_piece_is_corrupt(leaf: bytes) -> None:
    index = BlobIndex(2 * PIECE, PIECE, layout.BLOCK, (layout.short_hash(leaf),))
    with pytest.raises(BlobCorruptError, match="leaf 0"):
        layout.parse_leaf(index, 0, leaf)


def test_two_blobs_of_the_same_bytes_and_other_blocks_have_other_ids() -> None:
    data = random.Random(1).randbytes(3 * PIECE)
    ids = {layout.build(cut(data), len(data), block)[0].blob for block in (4096, 8192)}
    assert len(ids) == 2
