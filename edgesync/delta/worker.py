"""The worker that writes an image into the other slot: `python -m edgesync.delta.worker`, one request, one reply.

{"op": "delta", "length", "sha256", "base_sha256"}   descriptors base, blob, target
{"op": "full", "length", "sha256"}                   descriptors blob, target
{"op": "copy", "length", "sha256"}                   descriptors base, target
reply {"length", "sha256"} of what was read back from the target
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from edgesync.host.worker import Progress, serve
from edgesync.wire.ids import parse_digest


def main() -> None:
    # Before numpy is imported, or its linear algebra starts threads: they take address space, and a process with
    # threads cannot leave its network namespace.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from edgesync.delta import apply  # noqa: PLC0415 - numpy reads the variable while it is imported

    def handle(request: Mapping[str, Any], fds: Mapping[str, int], progress: Progress) -> Mapping[str, Any]:
        length, sha256 = request["length"], parse_digest(request["sha256"])
        if request["op"] == "delta":
            base_sha256 = parse_digest(request["base_sha256"])
            apply.apply_delta(
                fds["base"],
                fds["blob"],
                fds["target"],
                base_sha256=base_sha256,
                length=length,
                sha256=sha256,
                progress=progress,
            )
        elif request["op"] == "full":
            apply.expand_full(fds["blob"], fds["target"], length=length, sha256=sha256, progress=progress)
        else:
            apply.copy_image(fds["base"], fds["target"], length=length, sha256=sha256, progress=progress)
        return {"length": length, "sha256": sha256}

    serve(handle)


if __name__ == "__main__":
    main()
