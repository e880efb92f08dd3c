"""How small edgesync's deltas between the demo's images are, beside bsdiff4's and beside the whole image under xz -9e,
and what making and applying them costs.

All in one run, each command in a process of its own: CPU seconds with the start of the interpreter, and the peak memory
of the process. Making one of ours includes the proof that it applies, and applying includes the check of the base and
the reading back of the result; bsdiff4 does neither.
"""

from __future__ import annotations

import json
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import BenchError, Figure, Workshop, sha256, shown, taken_by

PAIRS = (("demo-v1", "demo-v2"), ("demo-v2", "demo-v3"), ("demo-v1", "demo-v3"))
SIZE_LIMIT = 1.0
"""Our delta as a part of bsdiff4's: word differences must be worth their format."""
_BSDIFF4 = "import sys, bsdiff4; getattr(bsdiff4, sys.argv[1])(*sys.argv[2:])"


def run(workshop: Workshop) -> Iterator[Figure]:
    room = workshop.room("delta")
    whole = {name: _xz(workshop, name) for name in sorted({result for _, result in PAIRS})}
    for base, result in PAIRS:
        yield from _pair(workshop, room, base, result, whole[result])


def _xz(workshop: Workshop, name: str) -> int:
    workshop.say(f"xz -9e of {name}")
    return len(lzma.compress(workshop.image(name).read_bytes(), preset=9 | lzma.PRESET_EXTREME))


def _pair(workshop: Workshop, room: Path, base: str, result: str, whole: int) -> Iterator[Figure]:
    old, new = workshop.image(base), workshop.image(result)
    what = f"{base} > {result}"
    theirs, built, python = room / "theirs", room / "built", sys.executable
    ours, make = workshop.delta(base, result)
    diff = taken_by([python, "-c", _BSDIFF4, "file_diff", str(old), str(new), str(theirs)])
    call = {"op": "apply", "kind": "delta", "base": str(old), "blob": str(ours), "target": str(built)}
    call |= {"length": new.stat().st_size, "sha256": sha256(new), "base_sha256": sha256(old)}
    built.unlink(missing_ok=True)
    apply = taken_by([python, "-m", "tests.bench.call", json.dumps(call)])
    patch = taken_by([python, "-c", _BSDIFF4, "file_patch", str(old), str(room / "patched"), str(theirs)])
    for path in (built, room / "patched"):
        if sha256(path) != sha256(new):
            raise BenchError(f"{path}: is not {result}")

    size, rival = ours.stat().st_size, theirs.stat().st_size
    image = f"image of {new.stat().st_size} bytes"
    yield Figure(f"delta {what}", size, "bytes", image)
    yield Figure(f"as a part of bsdiff4's, {what}", size / rival, "", f"bsdiff4: {rival} bytes", SIZE_LIMIT)
    yield Figure(f"as a part of the whole image, {what}", size / whole, "", f"xz -9e: {whole} bytes")
    cpu = f"{make.cpu:.1f} s against {diff.cpu:.1f} s"
    yield Figure(f"CPU of making as a part of bsdiff4's, {what}", make.cpu / diff.cpu, "", cpu)
    cpu = f"{apply.cpu:.2f} s against {patch.cpu:.2f} s"
    yield Figure(f"CPU of applying as a part of bsdiff4's, {what}", apply.cpu / patch.cpu, "", cpu)
    yield Figure(f"peak memory of making, {what}", make.peak, "bytes", f"bsdiff4: {shown(diff.peak, 'bytes')}")
    yield Figure(f"peak memory of applying, {what}", apply.peak, "bytes", f"bsdiff4: {shown(patch.peak, 'bytes')}")
