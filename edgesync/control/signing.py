"""Signs desired states and hands them to the publisher, some at a time and beside the rollout: what boards report, and
what an operator asks, waits for no signature.

Here the config of a desired state gets its source: the smallest way from what the board holds. What is signed is saved,
with the blob that it names, before it is published.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from securesystemslib.signer import CryptoSigner

from edgesync.control.configblobs import ConfigBlobs
from edgesync.control.publisher import Publisher
from edgesync.control.standing import Offered
from edgesync.control.state import Signed, Store
from edgesync.trust.director import sign_desired
from edgesync.wire.errors import BuildFailedError, EdgesyncError
from edgesync.wire.ids import DeviceId, Digest
from edgesync.wire.messages import Source

log = logging.getLogger("edgesync.rollout")

CHUNK = 100
"""Desired states signed and saved together: about a tenth of a second, for which everything else that wants to be saved
waits."""
CHUNK_BYTES = 1 << 20
"""Of the bundles in a chunk, if it is more than one: deltas of large ones take as long."""


class Desk(Protocol):
    """Of the driver what is used here."""

    async def persist(self, work: Callable[[], None]) -> None:
        """Run it on the thread of the database until that takes it."""

    def in_force(self, device: DeviceId) -> Offered | None: ...
    def refused(self, device: DeviceId, error: EdgesyncError) -> None: ...


class Signing:
    """What waits to be signed: of each board the newest alone. `sources`: how config that is sent gets to its board."""

    def __init__(self, store: Store, signer: CryptoSigner, desk: Desk) -> None:
        self._store, self._signer, self._desk = store, signer, desk
        self._blobs = ConfigBlobs()
        self.sources: dict[DeviceId, Source] = {}
        self._waiting: dict[DeviceId, Offered] = {}
        self._kick = asyncio.Event()
        self._working = False

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._working

    def put(self, offers: Mapping[DeviceId, Offered]) -> None:
        self._waiting.update(offers)
        self._kick.set()

    def forget(self, device: DeviceId) -> None:
        """The board left the fleet."""
        self._waiting.pop(device, None)
        self.sources.pop(device, None)

    def signed(self, publisher: Publisher, device: DeviceId, offered: Offered, message: Signed) -> None:
        """What is signed and saved may be published."""
        if message.config:
            self.sources[device] = message.config.source
        else:
            self.sources.pop(device, None)
        publisher.desire(device, message.packed, offered.blobs, message.config)

    async def run(self, publisher: Publisher) -> None:
        """Until cancelled."""
        while True:
            await self._kick.wait()
            self._kick.clear()
            while self._waiting:
                self._working = True
                await self._publish(self._take(), publisher)
                self._working = False

    def _take(self) -> dict[DeviceId, Offered]:
        """The next chunk."""
        chunk: dict[DeviceId, Offered] = {}
        size = 0
        for device, offered in self._waiting.items():
            size += offered.desired.config.length if offered.desired.config and offered.new_config else 0
            if chunk and (size > CHUNK_BYTES or len(chunk) >= CHUNK):
                break
            chunk[device] = offered
        for device in chunk:
            del self._waiting[device]
        return chunk

    async def _publish(self, chunk: Mapping[DeviceId, Offered], publisher: Publisher) -> None:
        signed: dict[DeviceId, Signed] = {}
        refused: dict[DeviceId, EdgesyncError] = {}

        def work() -> None:
            signed.clear()
            refused.clear()
            self._sign(chunk, signed, refused)
            self._store.save_signed(signed)

        await self._desk.persist(work)
        for device, error in refused.items():
            self._desk.refused(device, error)
        for device, message in signed.items():
            # A newer one waits for its turn, or the board has left, where this is not in force any more.
            if self._desk.in_force(device) == chunk[device]:
                self.signed(publisher, device, chunk[device], message)

    def _sign(
        self,
        chunk: Mapping[DeviceId, Offered],
        signed: dict[DeviceId, Signed],
        refused: dict[DeviceId, EdgesyncError],
    ) -> None:
        changed = [offered for offered in chunk.values() if offered.new_config]
        needed = {digest for offered in changed for digest in (offered.new_config, offered.config_base) if digest}
        bundles = self._store.bundles(needed) if needed else {}
        for device, offered in chunk.items():
            try:
                signed[device] = self._sign_one(offered, bundles)
            except EdgesyncError as error:
                refused[device] = error

    def _sign_one(self, offered: Offered, bundles: Mapping[Digest, bytes]) -> Signed:
        desired, blob = offered.desired, None
        if desired.config and offered.new_config:
            bundle = bundles.get(offered.new_config)
            if bundle is None:
                raise BuildFailedError(f"config {offered.new_config[:12]} is not in the database")
            base = offered.config_base
            held = (base, bundles[base]) if base and base in bundles and not offered.whole else None
            blob = self._blobs.make(offered.new_config, bundle, held)
            desired = replace(desired, config=replace(desired.config, source=blob.source))
        return Signed(desired.version, sign_desired(desired, self._signer, int(offered.expires)), blob)
