"""Building an image in the other slot: from a delta and the base, from a compressed full image, or as a copy.

Runs in the board's worker. Whatever can be refused is refused before the first byte is written: the shape of the whole
delta, what it is for, and the base. Each megabyte is written only when its hash is right; at the end the image is read
back. Memory does not depend on the size of the image.
"""

from __future__ import annotations

import functools
import lzma
from collections.abc import Iterator

from edgesync.delta import chapter, segment
from edgesync.delta.disk import CHUNK, Meter, Progress, Target, check_base, read_base, read_blob, size_of
from edgesync.delta.format import (
    CHAPTER_HEADER_SIZE,
    HEADER_SIZE,
    SEGMENT,
    SEGMENT_HEADER_SIZE,
    ChapterHeader,
    Header,
    Part,
    SegmentHeader,
    parse_chapter_header,
    parse_header,
    parse_segment_header,
)
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import DeltaCorruptError
from edgesync.wire.ids import Digest

INPUT = 64 * 1024
"""Bytes of a compressed full image that are read at a time."""
DECODER_MEMORY = 24 << 20
"""Bytes that the xz decoder of a full image may take: `full.DICTIONARY` and its tables; it refuses a larger one."""


def apply_delta(
    base_fd: int, blob_fd: int, target_fd: int, *, base_sha256: Digest, length: int, sha256: Digest, progress: Progress
) -> None:
    """Build the image of `length` bytes with digest `sha256` from the base with digest `base_sha256`.

    Segments that the target holds already are kept, so a call that was killed is simply made again. Raises
    UnknownFormatError, DeltaCorruptError, BaseModifiedError, ResultMismatchError, DiskFullError, StorageError.
    """
    header = parse_header(read_blob(blob_fd, min(HEADER_SIZE, size_of(blob_fd)), 0))
    for field, found, expected in (
        ("base SHA-256", header.base_sha256, base_sha256),
        ("result SHA-256", header.result_sha256, sha256),
        ("result length", header.result_length, length),
    ):
        if found != expected:
            raise DeltaCorruptError(f"delta, header, {field}: found {found}, expected {expected}; it is another delta")
    for _ in _parts(blob_fd, header):
        pass  # the shape of the whole delta, before anything is done with a part of it
    meter = Meter(header.base_length + 2 * length, progress)
    check_base(base_fd, header.base_length, base_sha256, meter)
    target = Target(target_fd, length)
    read = functools.partial(read_base, base_fd)
    for number, at, head in _parts(blob_fd, header):
        if isinstance(head, ChapterHeader):
            load_chapter = functools.cache(functools.partial(_chapter, blob_fd, header, number, at, head))
            continue
        offset, output = number * SEGMENT, header.output_length(number)
        if not target.holds(offset, output, head.digest):
            body = read_blob(blob_fd, head.part.body_length, at)
            target.put(offset, segment.decode(load_chapter(), head, body, range(offset, offset + output), read))
        meter.add(output)
    target.finish(sha256, meter)


def expand_full(blob_fd: int, target_fd: int, *, length: int, sha256: Digest, progress: Progress) -> None:
    """Decompress a full image. Raises DeltaCorruptError, ResultMismatchError, DiskFullError, StorageError."""
    size = size_of(blob_fd)
    meter = Meter(2 * length, progress)
    target = Target(target_fd, length)
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=DECODER_MEMORY)
    read = done = 0
    while not decoder.eof:
        data = b""
        if decoder.needs_input:
            data = read_blob(blob_fd, min(INPUT, size - read), read)
            if not data:
                raise DeltaCorruptError(f"full image: cut off after {size} bytes, {done} of {length} unpacked")
            read += len(data)
        try:
            piece = memoryview(decoder.decompress(data, CHUNK))
        except lzma.LZMAError as error:
            raise DeltaCorruptError(f"full image: does not unpack near byte {read}: {error}") from error
        if done + len(piece) > length:
            raise DeltaCorruptError(f"full image: unpacks to more than {length} bytes")
        if not target.holds(done, len(piece), short_hash(piece)):
            target.put(done, piece)
        done += len(piece)
        meter.add(len(piece))
    if done != length or decoder.unused_data or read != size:
        raise DeltaCorruptError(f"full image: {done} bytes and then others in a blob of {size}, expected {length}")
    target.finish(sha256, meter)


def copy_image(base_fd: int, target_fd: int, *, length: int, sha256: Digest, progress: Progress) -> None:
    """Carry a component that does not change to the other slot.

    Raises BaseModifiedError, ResultMismatchError, DiskFullError, StorageError.
    """
    meter = Meter(3 * length, progress)
    check_base(base_fd, length, sha256, meter)
    target = Target(target_fd, length)
    buffer = memoryview(bytearray(min(CHUNK, length)))
    for offset in range(0, length, CHUNK):
        view = buffer[: length - offset]
        read_base(base_fd, view, offset)
        if not target.holds(offset, len(view), short_hash(view)):
            target.put(offset, view)
        meter.add(len(view))
    target.finish(sha256, meter)


def _chapter(blob_fd: int, header: Header, first: int, at: int, head: ChapterHeader) -> chapter.Chapter:
    """The tables of the chapter whose first segment is number `first`, read when a segment needs them."""
    body = read_blob(blob_fd, head.part.body_length, at)
    return chapter.decode(head, body, first, (header.base_length, header.result_length))


def _parts(blob_fd: int, header: Header) -> Iterator[tuple[int, int, ChapterHeader | SegmentHeader]]:
    """Chapters and segments in the order of the blob: number of the (first) segment, offset of the streams, header.
    Raises DeltaCorruptError for a blob that does not end with its last segment.
    """
    at, size, number, chapters = HEADER_SIZE, size_of(blob_fd), 0, 0
    while number < header.segments:
        left = header.segments - number
        head = parse_chapter_header(chapters, read_blob(blob_fd, min(CHAPTER_HEADER_SIZE, size - at), at), left)
        at += CHAPTER_HEADER_SIZE
        yield number, at, head
        at = _behind(head.part, at, size)
        for _ in range(head.counts.segments):
            data = read_blob(blob_fd, min(SEGMENT_HEADER_SIZE, size - at), at)
            part = parse_segment_header(number, data, header.output_length(number))
            at += SEGMENT_HEADER_SIZE
            yield number, at, part
            at = _behind(part.part, at, size)
            number += 1
        chapters += 1
    if at != size:
        raise DeltaCorruptError(f"delta: {size - at} bytes behind the last segment")


def _behind(part: Part, at: int, size: int) -> int:
    end = at + part.body_length
    if end > size:
        raise DeltaCorruptError(f"delta, {part.name}: ends at byte {end} of a blob of {size}; it is cut off")
    return end
