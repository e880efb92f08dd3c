"""What the resident agent calls: one worker process a call, and no cryptography imported here.

Sizes are checked before a process is started, so a flood of oversized messages starts none. Calls are not limited in
number: the caller makes one at a time.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager

from edgesync.host import worker
from edgesync.wire import codec
from edgesync.wire.errors import ConfigError, MessageTooLargeError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Desired, Reported

MODULE = "edgesync.trust.worker"
LIMITS = worker.Limits(stall=60.0, memory=512 << 20)
"""A call takes 0.12 s of CPU on x86-64, and a slow single core that also fetches may need fifty times that. It maps
45 MiB and keeps 34 of them."""


async def verify(packed: bytes, *, root_path: str, device: DeviceId, floor: int, now: float) -> Desired:
    """`edgesync.trust.director.verify_desired` in a worker, with its errors and those of `host.worker.run`."""
    if len(packed) > codec.PACKED_LIMIT:
        raise MessageTooLargeError(f"desired of {device}: {len(packed)} bytes, at most {codec.PACKED_LIMIT}")
    request = {
        "op": "verify",
        "message": base64.b64encode(packed).decode(),
        "device": device,
        "floor": floor,
        "now": now,
    }
    with _opened(root_path) as fd:
        reply = await worker.run(MODULE, request, {"root": fd}, LIMITS)
    return Desired.from_dict(reply["desired"])


async def sign(reported: Reported, *, key_path: str) -> bytes:
    """`edgesync.trust.report.sign_reported` in a worker, with its errors and those of `host.worker.run`."""
    with _opened(key_path) as fd:
        reply = await worker.run(MODULE, {"op": "sign", "reported": reported.to_dict()}, {"key": fd}, LIMITS)
    return base64.b64decode(reply["message"])


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; it is written when the board is enrolled") from error
    try:
        yield fd
    finally:
        os.close(fd)
