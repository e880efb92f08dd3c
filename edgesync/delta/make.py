"""Making a delta, on the server: `python -m edgesync.delta.make BASE RESULT OUT`, in a process of its own.

Global alignments of both images (`plan`), then segment by segment what the decoder needs, then a real application of
the delta: OUT appears only when that gave the result. Both images are in memory, and the suffix sort takes about 18
bytes a byte of the base and one CPU second for two megabytes, three times over for images with programs.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgesync.delta import chapter, plan, segment
from edgesync.delta.apply import apply_delta
from edgesync.delta.command import run
from edgesync.delta.copies import Copies
from edgesync.delta.format import CHECK, SEGMENT, Header
from edgesync.delta.layout import Layout
from edgesync.host.files import fsync_dir, storage_errors
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import Digest, digest_of

ALIGN_LIMIT = 256 << 20
"""Bytes of the longest image that is aligned in one piece: 5 GB of memory."""

PhaseProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DeltaInfo:
    """A delta that was made: its length in bytes, and both images."""

    length: int
    base_length: int
    base_sha256: Digest
    result_length: int
    result_sha256: Digest


def make_delta(base_path: str, result_path: str, out_path: str, progress: PhaseProgress | None = None) -> DeltaInfo:
    """Write the delta from one image to the other. Progress: ("align" | "encode" | "verify", bytes done, of).

    Raises ConfigError for an image that is too long, DiskFullError or StorageError for files that cannot be read or
    written; then there is nothing at `out_path` that was not there before.
    """
    report = progress or (lambda _phase, _done, _total: None)
    base, result = _read_image(base_path), _read_image(result_path)
    info = DeltaInfo(0, len(base), digest_of(base), len(result), digest_of(result))
    report("align", 0, len(result))
    bodies = (
        encode(base, result, copies, known, functools.partial(report, "encode"))
        for copies, known in plan.variants(base, result)
    )
    body = min(bodies, key=len)
    temporary = f"{out_path}.tmp"
    with storage_errors(out_path):
        try:
            with open(temporary, "w+b") as out, open(base_path, "rb") as base_file:
                out.write(header_of(base, result).encode() + body)
                out.flush()
                os.fsync(out.fileno())
                _verify(base_file.fileno(), out.fileno(), info, os.path.dirname(out_path) or ".", report)
                length = os.fstat(out.fileno()).st_size
            os.replace(temporary, out_path)
            fsync_dir(os.path.dirname(out_path) or ".")
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
    return replace(info, length=length)


def encode(base: bytes, result: bytes, copies: Copies, known: Layout, report: Callable[[int, int], None]) -> bytes:
    """All behind the header of a delta with this alignment."""
    parts = []

    def read(view: memoryview, offset: int) -> None:
        view[:] = base[offset : offset + len(view)]

    alone = len(result) <= SEGMENT
    for tables, segments in plan.chapters(base, result, copies, known):
        coded = []
        for offset in (number * SEGMENT for number in segments):
            report(offset, len(result))
            part = result[offset : offset + SEGMENT]
            coded.append(segment.encode(tables, part, offset, read, b"" if alone else short_hash(part)[:CHECK]))
        parts.append(chapter.encode(tables, segments.start, coded))
    return b"".join(parts)


def header_of(base: bytes, result: bytes) -> Header:
    return Header(len(base), short_hash(base).hex(), len(result), short_hash(result).hex())


def _read_image(path: str) -> bytes:
    with storage_errors(path), open(path, "rb") as file:
        data = file.read(ALIGN_LIMIT + 1)
    if len(data) > ALIGN_LIMIT:
        raise ConfigError(
            f"{path}: more than {ALIGN_LIMIT} bytes; a delta is made of shorter images, send a full image"
        )
    return data


def _verify(base_fd: int, delta_fd: int, info: DeltaInfo, directory: str, report: PhaseProgress) -> None:
    with tempfile.TemporaryFile(dir=directory) as built:
        apply_delta(
            base_fd,
            delta_fd,
            built.fileno(),
            base_sha256=info.base_sha256,
            length=info.result_length,
            sha256=info.result_sha256,
            progress=functools.partial(report, "verify"),
        )


if __name__ == "__main__":
    sys.exit(
        run("edgesync.delta.make", "Make a delta between two firmware images.", ("base", "result", "out"), make_delta)
    )
