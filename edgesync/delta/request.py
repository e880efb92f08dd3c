"""What the resident agent calls: one apply worker a call. Neither numpy nor an image ever enters this process."""

from __future__ import annotations

from typing import Any, Literal

from edgesync.host import worker
from edgesync.wire.ids import Digest

MODULE = "edgesync.delta.worker"
STALL = 120.0
"""Seconds without progress after which a worker is killed: at most 8 MiB are written out between two reports, and a
worn SD card may pause on the way."""
ADDRESS_SPACE = 384 << 20
"""Bytes of address space: three times what a worker was seen to need, of which it keeps less than 64 MiB resident."""

Kind = Literal["delta", "full", "copy"]


def limits_for(length: int) -> worker.Limits:
    """Limits of a worker that writes an image of `length` bytes."""
    return worker.Limits(stall=STALL, memory=ADDRESS_SPACE, file_size=length)


async def apply(
    kind: Kind,
    *,
    target: int,
    length: int,
    sha256: Digest,
    base: int | None = None,
    base_sha256: Digest | None = None,
    blob: int | None = None,
    on_progress: worker.Progress | None = None,
) -> None:
    """Build the image of `length` bytes with digest `sha256` in the descriptor `target`, in a worker.

    "delta": from the descriptors `base` (whose digest is `base_sha256`) and `blob`; "full": from `blob`; "copy": from
    `base`, which holds the wanted image already. A call that was cut off is made again and goes on. Progress counts
    bytes hashed, written and read back. Raises BaseModifiedError, DeltaCorruptError, UnknownFormatError,
    ResultMismatchError, DiskFullError, StorageError, and what `host.worker.run` raises.
    """
    given = {"base": base, "blob": blob, "target": target}
    fds = {name: fd for name, fd in given.items() if fd is not None}
    request: dict[str, Any] = {"op": kind, "length": length, "sha256": sha256}
    if base_sha256:
        request["base_sha256"] = base_sha256
    await worker.run(MODULE, request, fds, limits_for(length), on_progress)
