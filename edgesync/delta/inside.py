"""Finding compressed parts of an image: a squashfs, an initrd, a kernel in gzip, or the whole file.

Most of what is compressed travels again when a byte in it changes. This finds such parts anywhere in an image, by
their magic, and believes one only when it really unpacks (or, for squashfs, when its superblock makes sense). An
Android sparse file is named too: it is not compressed, but no slot holds it as it is.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgesync.delta import sparse
from edgesync.delta.images import HEAD, MAGIC, packing_of
from edgesync.delta.unpackers import UnpackError, decoder
from edgesync.host.files import storage_errors
from edgesync.wire.errors import NotReachableError

Kind = Literal["file", "squashfs", "initrd", "data"]

SMALLEST = 64 * 1024
"""Bytes of a compressed part that is worth a word; a root file system holds thousands of small manual pages."""
LARGEST = 1 << 30
"""Bytes that a part may unpack to while it is looked at."""
BUDGET = 4 << 30
"""Bytes unpacked in one image: the search ends there."""
PARTS_LIMIT = 32
_PIECE = 1 << 20

_SQUASHFS_MAGIC = b"hsqs"
_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQ")
_COMPRESSORS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_DATA_PLAIN = 0x0002
_CPIO = (b"070701", b"070702")


@dataclass(frozen=True, slots=True)
class Part:
    """A compressed part: how, where, and its length in bytes, compressed and, for a stream, unpacked (squashfs: 0).
    `sha256` is of the compressed bytes. "file" is a whole image that is compressed, or "sparse".
    """

    kind: Kind
    compression: str
    offset: int
    length: int
    unpacked: int
    sha256: str


def find(path: str | os.PathLike[str]) -> tuple[Part, ...]:
    """The compressed parts of an image file or block device, at most PARTS_LIMIT, in their order.

    Raises StorageError for a file that cannot be read.
    """
    with storage_errors(os.fspath(path)), open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return ()
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as image:
            return tuple(_parts(image))


def _parts(image: mmap.mmap) -> Iterator[Part]:
    end = count = spent = 0
    if (unpacked := sparse.length(image[: sparse.HEAD])) is not None:
        yield Part("file", "sparse", 0, len(image), unpacked, _digest(image, 0, len(image)))
        count += 1
    for offset in _candidates(image):
        if offset < end:
            continue
        if image[offset : offset + len(_SQUASHFS_MAGIC)] == _SQUASHFS_MAGIC:
            part = _squashfs(image, offset)
        else:
            part, cost = _stream(image, offset)
            spent += cost
        if part:
            end = offset + part.length
        if part and (part.length >= SMALLEST or part.kind == "file"):
            yield part
            count += 1
        if count == PARTS_LIMIT or spent > BUDGET:
            return


def _candidates(image: mmap.mmap) -> Iterator[int]:
    """Offsets of every magic, ascending."""
    magics = [_SQUASHFS_MAGIC, *(magic for magic, packing in MAGIC.items() if packing != "sparse")]
    following = {magic: image.find(magic) for magic in magics}
    while left := {magic: at for magic, at in following.items() if at >= 0}:
        magic = min(left, key=left.__getitem__)
        yield left[magic]
        following[magic] = image.find(magic, left[magic] + 1)


def _squashfs(image: mmap.mmap, offset: int) -> Part | None:
    if len(image) - offset < _SUPERBLOCK.size:
        return None
    _, inodes, _, block, _, compressor, log, flags, _, major, minor, _, used = _SUPERBLOCK.unpack_from(image, offset)
    sound = (major, minor) == (4, 0) and inodes and 12 <= log <= 20 and block == 1 << log and compressor in _COMPRESSORS
    if not sound or not _SUPERBLOCK.size < used <= len(image) - offset or flags & _DATA_PLAIN:
        return None
    return Part("squashfs", _COMPRESSORS[compressor], offset, used, 0, _digest(image, offset, used))


def _stream(image: mmap.mmap, offset: int) -> tuple[Part | None, int]:
    """The stream that begins here, if one does, and how many bytes were unpacked to find out."""
    compression = packing_of(image[offset : offset + HEAD])
    assert compression in ("gzip", "xz", "zstd")
    at, unpacked, head = offset, 0, b""
    try:
        member = decoder(compression)
        while not member.eof:
            data = b""
            if member.needs_input and not (data := image[at : at + member.input_size]):
                return None, unpacked
            at += len(data)
            piece = member.decompress(data, _PIECE)
            head = head or piece[: len(_CPIO[0])]
            unpacked += len(piece)
            if unpacked > LARGEST:
                return None, unpacked
    except (UnpackError, NotReachableError):
        return None, unpacked
    length = at - len(member.unused_data) - offset
    kind: Kind = "initrd" if head.startswith(_CPIO) else "data" if offset else "file"
    return Part(kind, compression, offset, length, unpacked, _digest(image, offset, length)), unpacked


def _digest(image: mmap.mmap, offset: int, length: int) -> str:
    digest = hashlib.sha256()
    for at in range(offset, offset + length, _PIECE):
        digest.update(image[at : min(at + _PIECE, offset + length)])
    return digest.hexdigest()
