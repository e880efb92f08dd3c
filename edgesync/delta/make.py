"""Making a delta, on the server: `python -m edgesync.delta.make BASE RESULT OUT`, in a process of its own.

An alignment of both images, then segment by segment what the decoder needs, then a decoding of all segments: OUT
appears only when they gave the result. Small images are aligned as a whole in memory (`plan`), long ones group by group
(`survey`); all cores work, and all processes together stay below 4 GiB.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgesync.delta import encoder, plan, views
from edgesync.delta.command import run
from edgesync.delta.crew import Crew, Task, crew_for
from edgesync.delta.disk import CHUNK
from edgesync.delta.format import LENGTH_LIMIT, header_of
from edgesync.delta.layout import NO_LAYOUT
from edgesync.delta.pair import WHOLE, Pair, digest_file, pair_of
from edgesync.delta.proof import prove
from edgesync.delta.survey import PhaseProgress, survey
from edgesync.host.files import fsync_dir, storage_errors
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import Digest

_TABLES_COUNT = 1 << 14
"""Bytes of a delta below which it is also made without tables: each program takes some 200 bytes in them."""


@dataclass(frozen=True, slots=True)
class DeltaInfo:
    """A delta that was made: its length in bytes, and both images."""

    length: int
    base_length: int
    base_sha256: Digest
    result_length: int
    result_sha256: Digest


def make_delta(
    base_path: str, result_path: str, out_path: str, progress: PhaseProgress | None = None, *, mixing: bool = False
) -> DeltaInfo:
    """Write the delta from one image to the other; with `mixing`, for boards that have the context-mixing coder.
    Progress: ("read" | "hash" | "align" | "encode" | "verify", done, of), in bytes.

    Raises ConfigError for an image that is too long for the format, DiskFullError or StorageError for files that cannot
    be read or written, BuildFailedError when a process of the build dies; then there is nothing at `out_path` that was
    not there before.
    """
    report = progress or (lambda _phase, _done, _total: None)
    pair = pair_of(base_path, result_path)
    images = (pair.base, pair.base_length), (pair.result, pair.result_length)
    for path, length in images:
        if length > LENGTH_LIMIT:
            raise ConfigError(f"{path}: {length} bytes, expected at most {LENGTH_LIMIT} in an image")
    temporary = f"{out_path}.tmp"
    with contextlib.closing(crew_for(pair.result_length)) as crew, storage_errors(out_path):
        tasks = [Task(digest_file, (path,), CHUNK, length) for path, length in images]
        base, result = crew.run(tasks, functools.partial(report, "read"))
        info = DeltaInfo(0, pair.base_length, base, pair.result_length, result)
        header = header_of(info.base_length, info.base_sha256, info.result_length, info.result_sha256)
        same = info.base_sha256 == info.result_sha256
        body = encoder.unchanged(info.result_length) if same else _smallest(crew, pair, report, mixing=mixing)
        try:
            with open(temporary, "wb") as out:
                out.write(header.encode() + body)
                out.flush()
                os.fsync(out.fileno())
            prove(crew, pair, temporary, header, functools.partial(report, "verify"))
            os.replace(temporary, out_path)
            fsync_dir(os.path.dirname(out_path) or ".")
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
    return replace(info, length=len(header.encode()) + len(body))


def _smallest(crew: Crew, pair: Pair, report: PhaseProgress, *, mixing: bool) -> bytes:
    """All behind the header, with the alignment that is best for this pair."""
    encode = functools.partial(encoder.encode, crew, pair, report=functools.partial(report, "encode"), mixing=mixing)
    found = [(encode(alignment), alignment) for alignment in _alignments(crew, pair, report)]
    smallest = min((body for body, _ in found), key=len)
    plain = found[0][1]
    if len(smallest) < _TABLES_COUNT and len(plain.known.bias):
        smallest = min(smallest, encode(replace(plain, known=NO_LAYOUT)), key=len)
    return smallest


def _alignments(crew: Crew, pair: Pair, report: PhaseProgress) -> Iterator[plan.Alignment]:
    """Those that are worth a try."""
    if max(pair.base_length, pair.result_length) > WHOLE:
        yield survey(crew, pair, report)
        return
    report("align", 0, pair.result_length)
    with pair.opened() as (base, result):
        seen = views.view(base), views.view(result)
        images = seen[0].read(base, pair.base), seen[1].read(result, pair.result)
    for found in plan.variants(*images):
        yield views.placed(found, *seen, (pair.base_length, pair.result_length))


if __name__ == "__main__":
    sys.exit(
        run(
            "edgesync.delta.make",
            "Make a delta between two firmware images.",
            ("base", "result", "out"),
            make_delta,
            {"mixing": "for boards that have the context-mixing coder"},
        )
    )
