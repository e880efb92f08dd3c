"""Building an image in the other slot: from a delta and the base, from a compressed full image, or as a copy.

Runs in the board's worker. Whatever can be refused is refused before the first byte is written: the shape of the whole
delta, what it is for, and the base. Each megabyte is written only when its hash is right; at the end the image is read
back. Memory does not depend on the size of the image.
"""

from __future__ import annotations

import functools
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgesync.delta import btf_derive, mixing, plain, tables
from edgesync.delta.btf_records import BtfError
from edgesync.delta.disk import CHUNK, Meter, Progress, Target, check_base, read_base, read_blob, size_of
from edgesync.delta.format import (
    BYTES,
    HEADER_LIMIT,
    MIXED,
    PART_LIMIT,
    SEGMENT,
    SPARSE,
    ChapterHeader,
    Header,
    Part,
    SegmentHeader,
    derived_at,
    parse_chapter_header,
    parse_header,
    parse_segment_header,
)
from edgesync.delta.streams import is_mixed
from edgesync.delta.switch import is_plain
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import DeltaCorruptError
from edgesync.wire.ids import Digest

INPUT = 64 * 1024
"""Bytes of a compressed full image that are read at a time."""
DECODER_MEMORY = 24 << 20
"""Bytes that the xz decoder of a full image may take: `full.DICTIONARY` and its tables; it refuses a larger one."""


def apply_delta(
    base_fd: int, blob_fd: int, target_fd: int, *, base_sha256: str, length: int, sha256: str, progress: Progress
) -> None:
    """Build the image of `length` bytes with digest `sha256` from the base with digest `base_sha256`: whole digests,
    or the first digits, as a delta itself has them.

    Segments that the target holds already are kept, so a call that was killed is simply made again. Raises
    UnknownFormatError, DeltaCorruptError, BaseModifiedError, ResultMismatchError, DiskFullError, StorageError.
    """
    header, start = parse_header(read_blob(blob_fd, min(HEADER_LIMIT, size_of(blob_fd)), 0))
    for field, found, expected in (
        ("base SHA-256", header.base_hash, base_sha256[: len(header.base_hash)]),
        ("result SHA-256", header.result_hash, sha256[: len(header.result_hash)]),
        ("result length", header.result_length, length),
    ):
        if found != expected:
            raise DeltaCorruptError(f"delta, header, {field}: found {found}, expected {expected}; it is another delta")
    # The shape of the whole delta is checked by the way, before anything is done with a part of it.
    if needs_mixing(blob_fd, header, start) and not mixing.available():
        raise mixing.absent("delta")
    meter = Meter(header.base_length + 2 * length, progress)
    check_base(base_fd, header.base_length, base_sha256, meter)
    target = Target(target_fd, length)
    for part in parts_of(blob_fd, header, start):
        if isinstance(part.head, ChapterHeader):
            chapter = ChapterSource(base_fd, blob_fd, header, part, part.head)
            continue
        offset, output = part.number * SEGMENT, header.output_length(part.number)
        window = range(offset, offset + output)
        if part.head is None or not part.head.check:
            data = output_of(blob_fd, chapter, part, window)
            if not target.holds(offset, output, short_hash(data)):
                target.put(offset, data)
        elif not target.holds(offset, output, part.head.check):
            target.put(offset, output_of(blob_fd, chapter, part, window))
        meter.add(output)
    target.finish(sha256, meter)


def needs_mixing(blob_fd: int, header: Header, at: int) -> bool:
    """Whether only boards with the context-mixing coder can apply a delta whose first chapter begins at byte `at`.

    Reads all headers and unpacks nothing. Raises DeltaCorruptError for a delta that has not the right shape.
    """
    return sum(_is_mixed(blob_fd, part) for part in parts_of(blob_fd, header, at)) > 0


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


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a delta: the number of its (first) segment, where its streams begin in the blob, and its header. A
    quiet segment has none.
    """

    number: int
    at: int
    head: ChapterHeader | SegmentHeader | None


class ChapterSource:
    """The copies and tables of a chapter and what it derives, each read when a segment needs it."""

    def __init__(self, base_fd: int, blob_fd: int, header: Header, place: Place, head: ChapterHeader) -> None:
        self._base, self._blob, self._place, self._head = base_fd, blob_fd, place, head
        self._lengths = header.base_length, header.result_length
        self._behind = derived_at(header.base_length)

    @functools.cached_property
    def rows(self) -> plain.Rows:
        return plain.rows(self._head, self._body(), self._place.number, self._lengths)

    @functools.cached_property
    def decode(self) -> Callable[[SegmentHeader, bytes, range, plain.ReadBase], memoryview]:
        """Makes segments of form WORDS or MIXED, with numpy or without."""
        rows, lengths = self.rows, self._lengths
        if is_plain():
            from edgesync.delta import plaintables, plainwords  # noqa: PLC0415 - only where there is no numpy

            columns = tables.read(self._head, self._body(), lengths)
            return plainwords.Decoder(rows, plaintables.tables_of(rows, columns, lengths)).decode
        from edgesync.delta import chapter, segment  # noqa: PLC0415 - numpy, which many deltas do without

        return functools.partial(segment.decode, chapter.decode(self._head, self._body(), rows, lengths))

    def read(self, view: memoryview, offset: int) -> None:
        """Fill `view` from the base, or from what is derived and lies behind it."""
        if offset < self._behind:
            read_base(self._base, view, offset)
        else:
            view[:] = self._derived[offset - self._behind : offset - self._behind + len(view)]

    @functools.cached_property
    def _derived(self) -> bytearray:
        counts, part = self._head.counts, self._head.part
        orders = tables.read_orders(self._head, self._body(), self._lengths[0])
        data = bytearray(counts.types_length)
        read_base(self._base, memoryview(data), counts.types_at)
        try:
            derived = btf_derive.derive(data, orders, counts.derived)
        except BtfError as error:
            raise part.corrupt("types", str(error)) from error
        if len(derived) != counts.derived:
            raise part.corrupt("types", f"derived {len(derived)} bytes, expected {counts.derived}")
        return derived

    def _body(self) -> bytes:
        return read_blob(self._blob, self._head.part.body_length, self._place.at)


def output_of(blob_fd: int, chapter: ChapterSource, part: Place, window: range) -> memoryview:
    """What a segment makes."""
    head = part.head
    if not isinstance(head, SegmentHeader):
        return plain.copy(chapter.rows, part.number, window, chapter.read)
    body = read_blob(blob_fd, head.part.body_length, part.at)
    if head.form in (BYTES, SPARSE):
        return plain.decode(chapter.rows, head, body, window, chapter.read)
    return chapter.decode(head, body, window, chapter.read)


def parts_of(blob_fd: int, header: Header, at: int) -> Iterator[Place]:
    """Chapters and segments in the order of the result. Raises DeltaCorruptError for a blob that does not end with its
    last segment.
    """
    size, number, chapters = size_of(blob_fd), 0, 0
    while number < header.segments:
        head, length = parse_chapter_header(chapters, _head(blob_fd, at, size), header.segments - number)
        chapter, at = Place(number, at + length, head), _behind(head.part, at + length, size)
        yield chapter
        end, loud = number + head.counts.segments, head.counts.loud
        for left in range(loud, 0, -1):
            part, length = parse_segment_header(
                number, _head(blob_fd, at, size), header, end - number - left, alone=loud == 1
            )
            yield from (Place(quiet, at, None) for quiet in range(number, part.number))
            yield Place(part.number, at + length, part)
            at = _behind(part.part, at + length, size)
            number = part.number + 1
        yield from (Place(quiet, at, None) for quiet in range(number, end))
        number, chapters = end, chapters + 1
    if at != size:
        raise DeltaCorruptError(f"delta: {size - at} bytes behind the last segment")


def _is_mixed(blob_fd: int, part: Place) -> bool:
    if part.head is None:
        return False
    if isinstance(part.head, SegmentHeader):
        return part.head.form == MIXED
    at = part.at
    for name, size in part.head.part.packed.items():
        if size and is_mixed(name, read_blob(blob_fd, 1, at)):
            return True
        at += size
    return False


def _head(blob_fd: int, at: int, size: int) -> bytes:
    return read_blob(blob_fd, min(PART_LIMIT, size - at), at)


def _behind(part: Part, at: int, size: int) -> int:
    end = at + part.body_length
    if end > size:
        raise DeltaCorruptError(f"delta, {part.name}: ends at byte {end} of a blob of {size}; it is cut off")
    return end
