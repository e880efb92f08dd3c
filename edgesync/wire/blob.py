"""How a blob (a delta or a compressed full image) is cut, and the index that proves each piece.

A blob is cut into pieces of 16 KiB, the unit that is verified and kept; a piece into blocks, the unit that is one
MQTT message. Two pieces in flight are 32 KiB: more, and mosquitto can stall in silence on small socket buffers.

    index  = "esb1"  length u64  piece u32  block u32  leaves u32  then 16 bytes a leaf    (little-endian)
    leaf   = 16 bytes a piece, at most 512 of them

A blob of at most 8 KiB is *lone*: it has no index, and its bytes stand in the index's place. One message and one round
trip bring it, which is what the delta of a changed line of config is worth.

Hashes are the first 16 bytes of SHA-256. The blob's id is the hash of its index, so whoever trusts the id trusts,
through index and leaf, every piece on its own. That of a lone blob is the hash of its bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgesync.wire.errors import BlobCorruptError, MalformedMessageError, UnknownFormatError
from edgesync.wire.ids import BlobId

PIECE = 16 * 1024
BLOCK = 8 * 1024
BLOCK_MIN = 512
LONE = BLOCK
"""Bytes of the longest blob that has no index."""
HASH = 16
LEAF_LIMIT = 8 * 1024
PIECES_PER_LEAF = LEAF_LIMIT // HASH
INDEX_LIMIT = 8 * 1024
LENGTH_LIMIT = (INDEX_LIMIT - 24) // HASH * PIECES_PER_LEAF * PIECE
"""Bytes: the largest blob whose index still fits in one message (about 4 GiB)."""

_HEAD = struct.Struct("<4sQIII")
_MAGIC = b"esb1"
_FAMILY = _MAGIC[:3]
"""What indexes of all versions begin with, and no lone blob does."""


@dataclass(frozen=True, slots=True)
class BlobIndex:
    """Sizes of a blob in bytes, and the hash of each leaf of its index; or the bytes of a lone blob, which has no
    pieces that are messages of their own.
    """

    length: int
    piece: int
    block: int
    leaves: tuple[bytes, ...]
    lone: bytes = b""

    @property
    def pieces(self) -> int:
        return 0 if self.lone else -(-self.length // self.piece)

    @property
    def blocks(self) -> int:
        """Messages that carry the bytes, without index and leaves."""
        last = self.pieces - 1
        return last * (self.piece // self.block) + self.blocks_of(last) if self.pieces else 0

    def piece_length(self, number: int) -> int:
        """Bytes of one piece: all are equal but the last."""
        return min(self.piece, self.length - number * self.piece)

    def blocks_of(self, number: int) -> int:
        return -(-self.piece_length(number) // self.block)

    def block_length(self, number: int, block: int) -> int:
        return min(self.block, self.piece_length(number) - block * self.block)

    def leaf_length(self, number: int) -> int:
        """Bytes of one leaf."""
        return HASH * min(PIECES_PER_LEAF, self.pieces - number * PIECES_PER_LEAF)

    def encode(self) -> bytes:
        """The payload of the topic `index`."""
        if self.lone:
            return self.lone
        return _HEAD.pack(_MAGIC, self.length, self.piece, self.block, len(self.leaves)) + b"".join(self.leaves)

    @property
    def blob(self) -> BlobId:
        return BlobId(short_hash(self.encode()).hex())


def short_hash(data: bytes | bytearray | memoryview) -> bytes:
    """The first 16 bytes of SHA-256."""
    return hashlib.sha256(data).digest()[:HASH]


def build(pieces: Iterable[bytes], length: int, block: int = BLOCK) -> tuple[BlobIndex, list[bytes]]:
    """Index and leaves of a blob of `length` bytes, from its pieces in order (read once, never all in memory)."""
    if not 0 < length <= LENGTH_LIMIT:
        raise MalformedMessageError(f"a blob has 1 to {LENGTH_LIMIT} bytes, not {length}")
    if length <= LONE:
        return lone(b"".join(pieces)), []
    hashes = [short_hash(data) for data in pieces]
    leaves = [b"".join(hashes[at : at + PIECES_PER_LEAF]) for at in range(0, len(hashes), PIECES_PER_LEAF)]
    return BlobIndex(length, PIECE, block, tuple(short_hash(leaf) for leaf in leaves)), leaves


def lone(data: bytes) -> BlobIndex:
    """What stands in the place of an index for a blob of 1 to `LONE` bytes."""
    if not 0 < len(data) <= LONE or data.startswith(_FAMILY):
        raise MalformedMessageError(f"a lone blob has 1 to {LONE} bytes and does not begin as an index: {data[:4]!r}")
    return BlobIndex(len(data), PIECE, BLOCK, (), data)


def index_size(data: bytes) -> int:
    """Bytes that an index takes at the beginning of `data`, by its own count of leaves; checked by `parse_index`."""
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        return len(data)
    return min(INDEX_LIMIT, _HEAD.size + HASH * int(_HEAD.unpack_from(data)[4]))


def parse_index(blob: BlobId, data: bytes) -> BlobIndex:
    """The index of `blob`, or the lone blob itself.

    Raises BlobCorruptError if the bytes are not those that the id names, UnknownFormatError for an index of another
    version, MalformedMessageError for sizes that contradict one another.
    """
    if len(data) > INDEX_LIMIT or short_hash(data).hex() != blob:
        raise BlobCorruptError(f"index of blob {blob}: {len(data)} bytes that do not have its hash")
    if not data.startswith(_FAMILY):
        return lone(data)
    if not data.startswith(_MAGIC) or len(data) < _HEAD.size:
        raise UnknownFormatError(f"index of blob {blob} begins with {data[:4]!r}, expected {_MAGIC!r}")
    _, length, piece, block, count = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    if (
        not LONE < length <= LENGTH_LIMIT
        or piece != PIECE
        or not BLOCK_MIN <= block <= piece
        or piece % block
        or len(rest) != count * HASH
        or count != -(-length // (piece * PIECES_PER_LEAF))
    ):
        raise MalformedMessageError(
            f"index of blob {blob}: length {length}, piece {piece}, block {block}, {count} leaves in {len(data)} bytes"
        )
    return BlobIndex(length, piece, block, tuple(rest[at : at + HASH] for at in range(0, len(rest), HASH)))


def parse_leaf(index: BlobIndex, number: int, data: bytes) -> list[bytes]:
    """The hash of each piece that leaf `number` covers. Raises BlobCorruptError for any other bytes, even where the
    index names them.
    """
    if not 0 <= number < len(index.leaves) or short_hash(data) != index.leaves[number]:
        raise BlobCorruptError(f"leaf {number} of a blob's index does not have its hash")
    size = index.leaf_length(number)
    if len(data) != size:
        raise BlobCorruptError(f"leaf {number} of a blob's index: found {len(data)} bytes, expected {size}")
    return [data[at : at + HASH] for at in range(0, len(data), HASH)]


def split(index: BlobIndex, number: int, data: bytes) -> Iterator[bytes]:
    """The blocks of one piece."""
    for block in range(index.blocks_of(number)):
        yield data[block * index.block : (block + 1) * index.block]
