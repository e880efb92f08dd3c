"""Deltas of small images, made in the caller's own process and in about a millisecond: bundles of config.

An ordinary delta comes out, of one segment of form BYTES or SPARSE: its decoder needs no numpy. No programs are looked
for, and streams are stored or deflated, never in LZMA2, which would take longer than all the rest.
"""

from __future__ import annotations

from edgesync.delta import chapter, segment
from edgesync.delta.addresses import NO_TABLES
from edgesync.delta.align import align
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.delta.format import SEGMENT, header_of
from edgesync.delta.texts import TEXT_MIN, parted
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import digest_of

SMALL_LIMIT = SEGMENT
"""Bytes of the longest base and result: one segment, whose alignment takes a tenth of a second."""


def make_bytes(base: bytes, result: bytes) -> bytes:
    """The delta from one image of at most SMALL_LIMIT bytes to another, for `apply_delta`. Nothing is written, no
    process is started. Raises ConfigError for longer ones.
    """
    for name, image in (("base", base), ("result", result)):
        if len(image) > SMALL_LIMIT:
            raise ConfigError(
                f"{name} of {len(image)} bytes, at most {SMALL_LIMIT} here; make its delta with `api.make`"
            )
    header = header_of(len(base), digest_of(base), len(result), digest_of(result)).encode()
    if not result:
        return header
    aligned = align(base, result).at_least(TEXT_MIN)
    exact = parted(base, result, aligned, lambda start, _end: start >= 0).at_least(TEXT_MIN)
    return header + min((_chapter(base, result, copies) for copies in (exact, aligned)), key=len)


def _chapter(base: bytes, result: bytes, copies: Copies) -> bytes:
    """The one chapter with these copies."""
    known, lengths = Chapter(copies, NO_TABLES), (len(base), len(result))

    def read(view: memoryview, offset: int) -> None:
        view[:] = base[offset : offset + len(view)]

    return chapter.encode(known, 0, [segment.encode(known, result, 0, read, quick=True)], lengths, quick=True)
