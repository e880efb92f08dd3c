"""Images as they are delivered, and as they are stored: gzip, xz, zstd and Android sparse files are unpacked first.

A compressed image defeats every delta: one changed byte changes all that follow. So boards slot, and servers keep, what
is inside. Unpacking streams, and stops at a limit: a few kilobytes can unpack to terabytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from edgesync.delta import sparse
from edgesync.delta.unpackers import Compression, UnpackError, decoder
from edgesync.host.files import storage_errors
from edgesync.wire.errors import ImageUnreadableError
from edgesync.wire.ids import Digest

Packing = Literal["sparse"] | Compression

MAGIC: dict[bytes, Packing] = {
    b"\x1f\x8b\x08": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    sparse.MAGIC: "sparse",
}
HEAD = 8
"""Bytes that tell how a file is packed."""
LAYERS = 3
"""Packings one in another, such as a sparse image in gzip."""
SIZE_LIMIT = 16 << 30
"""Bytes of an unpacked image, unless the caller says otherwise."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An image as written: the packings that were around it, outermost first; its length in bytes and SHA-256."""

    packings: tuple[Packing, ...]
    length: int
    sha256: Digest


def packing_of(head: bytes) -> Packing | None:
    """How a file is packed that begins with these bytes (HEAD of them); None for an image as it is."""
    return next((packing for magic, packing in MAGIC.items() if head.startswith(magic)), None)


def unpack(source: BinaryIO, sink: BinaryIO, name: str, limit: int = SIZE_LIMIT) -> Unpacked:
    """Write the image inside `source` to `sink`; one that is not packed is copied.

    `name` stands in errors. Raises ImageUnreadableError for a file that is broken, cut off, followed by other bytes,
    packed more than LAYERS deep, or longer than `limit` bytes in any layer; NotReachableError where zstd is not known;
    StorageError and DiskFullError for the files.
    """
    reader, packings = PieceReader(_chunks(source, name)), tuple[Packing, ...]()
    while packing := packing_of(reader.peek(HEAD)):
        if len(packings) == LAYERS:
            raise ImageUnreadableError(f"{name}: packed more than {LAYERS} times: {', '.join(packings)}, {packing}")
        packings = (*packings, packing)
        inside = sparse.unpack(reader, limit, name) if packing == "sparse" else decompress(packing, reader, name)
        reader = PieceReader(_limited(inside, limit, name))
    digest, length = hashlib.sha256(), 0
    for piece in _limited(reader.pieces(), limit, name):
        length += len(piece)
        digest.update(piece)
        with storage_errors(name):
            sink.write(piece)
    return Unpacked(packings, length, Digest(digest.hexdigest()))


def decompress(compression: Compression, reader: PieceReader, name: str) -> Iterator[bytes]:
    """What a gzip, xz or zstd file holds, one member behind another, piece by piece.

    Zeros behind it are passed over: they fill the last block of a partition. Raises as `unpack` does.
    """
    while True:
        member = decoder(compression)
        while not member.eof:
            data = b""
            if member.needs_input and not (data := reader.read(member.input_size)):
                raise ImageUnreadableError(f"{name}: the {compression} file is cut off")
            try:
                piece = member.decompress(data, _PIECE)
            except UnpackError as error:
                raise ImageUnreadableError(f"{name}: the {compression} file does not unpack: {error}") from error
            if piece:
                yield piece
        reader.unread(member.unused_data)
        if packing_of(reader.peek(HEAD)) == compression:
            continue
        for part in reader.pieces():
            if part.count(0) != len(part):
                raise ImageUnreadableError(f"{name}: found other bytes behind the {compression} file, expected its end")
        return


class PieceReader:
    """Pieces of bytes as a file that is read forwards, where what was read too far can be given back."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._held, self._at = iter(pieces), b"", 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none only at the end."""
        while self._at == len(self._held):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._held, self._at = piece, 0
        data = self._held[self._at : self._at + size]
        self._at += len(data)
        return data

    def unread(self, data: bytes) -> None:
        if data:
            self._held, self._at = data + self._held[self._at :], 0

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        head = b""
        while len(head) < size and (part := self.read(size - len(head))):
            head += part
        self.unread(head)
        return head

    def pieces(self) -> Iterator[bytes]:
        """All that is left."""
        while data := self.read(_PIECE):
            yield data


def _chunks(source: BinaryIO, name: str) -> Iterator[bytes]:
    while True:
        with storage_errors(name):
            data = source.read(_PIECE)
        if not data:
            return
        yield data


def _limited(pieces: Iterable[bytes], limit: int, name: str) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        done += len(piece)
        if done > limit:
            raise ImageUnreadableError(f"{name}: unpacks to more than {limit} bytes, expected at most that")
        yield piece
