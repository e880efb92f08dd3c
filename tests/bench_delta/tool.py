"""One call of a peer that is a Python package: `python -m tests.bench_delta.tool PEER make|apply OLD IN OUT`.

`IN` is the new image for `make` and the patch for `apply`. Prints the CPU seconds of the call without the imports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

Call = Callable[[str, str, str], None]


def bsdiff4_(verb: str) -> Call:
    import bsdiff4

    def make(old: str, new: str, out: str) -> None:
        bsdiff4.file_diff(old, new, out)

    def apply(old: str, patch: str, out: str) -> None:
        bsdiff4.file_patch(old, out, patch)

    return make if verb == "make" else apply


def hdiffpatch_(verb: str) -> Call:
    import hdiffpatch

    def make(old: str, new: str, out: str) -> None:
        packing = hdiffpatch.Lzma2Config(level=9)
        Path(out).write_bytes(hdiffpatch.diff(Path(old).read_bytes(), Path(new).read_bytes(), packing, validate=False))

    def apply(old: str, patch: str, out: str) -> None:
        Path(out).write_bytes(hdiffpatch.apply(Path(old).read_bytes(), Path(patch).read_bytes()))

    return make if verb == "make" else apply


def detools_(verb: str, patch_type: str) -> Call:
    import detools

    algorithm = {"sequential": "bsdiff", "hdiffpatch": "hdiffpatch"}[patch_type]

    def make(old: str, new: str, out: str) -> None:
        with open(old, "rb") as a, open(new, "rb") as b, open(out, "wb") as patch:
            detools.create_patch(a, b, patch, compression="lzma", patch_type=patch_type, algorithm=algorithm)

    def apply(old: str, patch: str, out: str) -> None:
        with open(old, "rb") as a, open(patch, "rb") as p, open(out, "wb") as result:
            detools.apply_patch(a, p, result)

    return make if verb == "make" else apply


def edgesync_(verb: str, *, mixing: bool) -> Call:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a board's worker
    if verb == "make":
        from edgesync.delta.make import make_delta

        return lambda old, new, out: make_delta(old, new, out, mixing=mixing) and None
    from edgesync.delta import api, chapter, segment  # noqa: F401 - what `api` imports when it meets the first word

    if mixing:
        from edgesync.delta import _mixing  # noqa: F401 - the same

    return lambda old, delta, out: api.apply(old, delta, out) and None


def main() -> None:
    peer, verb, *paths = sys.argv[1:]
    calls: dict[str, Callable[[], Call]] = {
        "edgesync": lambda: edgesync_(verb, mixing=True),
        "edgesync-lzma": lambda: edgesync_(verb, mixing=False),
        "bsdiff4": lambda: bsdiff4_(verb),
        "hdiffpatch": lambda: hdiffpatch_(verb),
        "detools": lambda: detools_(verb, "sequential"),
        "detools-hdiff": lambda: detools_(verb, "hdiffpatch"),
    }
    call = calls[peer]()
    before = _cpu()
    call(*paths)
    print(json.dumps({"work": _cpu() - before}))


def _cpu() -> float:
    """CPU seconds of this process and of children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


if __name__ == "__main__":
    main()
