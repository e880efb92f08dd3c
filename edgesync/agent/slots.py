"""What the booted slot holds, read from it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping

from edgesync.boards.backend import BootBackend
from edgesync.host.files import storage_errors
from edgesync.wire.ids import Digest

_CHUNK = 128 * 1024


async def digests(backend: BootBackend, slot: str) -> Mapping[str, Digest]:
    """The SHA-256 of each component in a slot. Raises StorageError for one that cannot be read."""
    return {component: await _digest(backend, slot, component) for component in backend.components(slot)}


async def _digest(backend: BootBackend, slot: str, component: str) -> Digest:
    # Not in a thread: nothing else runs yet, and a thread's own heap costs the resident a MiB for good.
    fd = backend.open_component(slot, component)
    try:
        sha256, buffer = hashlib.sha256(), bytearray(_CHUNK)
        with storage_errors(component):
            while size := os.readv(fd, [buffer]):
                sha256.update(memoryview(buffer)[:size])
                await asyncio.sleep(0)
    finally:
        os.close(fd)
    return Digest(sha256.hexdigest())
