"""What the broker shall hold, and the one task that makes it so.

The rest of the server only says what should be there (`desire`, `forget`, `republish`). The task compares that with
what is there, publishes blobs (blocks, leaves, index), then the desired states that name them, and withdraws (index
first) what no desired state names any more, after a grace time. At every connect it looks at what the broker really
holds: a broker that came back empty, a foreign blob, a wrong index and an old desired state are all the same case, a
difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from edgesync.control.builds import BlobFiles, Builds
from edgesync.host.clock import Clock
from edgesync.wire import topics
from edgesync.wire.blob import BlobIndex, parse_index, split
from edgesync.wire.errors import EdgesyncError, LinkError
from edgesync.wire.ids import BlobId, DeviceId

log = logging.getLogger("edgesync.publisher")

WINDOW = 32
"""Messages on their way to the broker at once: 256 KiB of blocks."""
ACK_LIMIT = 120.0
"""Seconds until a message counts as lost: a broker that says nothing for so long is as good as away."""
RETRY_AFTER = 5.0
"""Seconds until a publish that failed on a living connection is tried again."""

Message = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. `grace`: how long a blob stays after the last desired state that named it, for boards that are still at
    it. `again`: at most one publish of the same blob in this time, however many boards miss it. `quiet`: the audit ends
    when nothing came for so long, or after `audit`.
    """

    grace: float = 3600.0
    again: float = 60.0
    quiet: float = 1.0
    audit: float = 60.0


class Link(Protocol):
    """Of `edgesync.host.mqtt.MqttLink` what is used here."""

    def subscribe(self, *filters: str, qos: int = 0) -> None: ...
    def unsubscribe(self, *filters: str) -> None: ...
    async def deliver(self, topic: str, payload: bytes, *, retain: bool = True) -> None: ...


@dataclass(slots=True)
class _Held:
    """What the broker holds, as far as is known. `blobs`: the payload of each index."""

    blobs: dict[BlobId, bytes] = field(default_factory=dict)
    desired: dict[DeviceId, bytes] = field(default_factory=dict)


class Publisher:
    """`on_lost(blob, error)` is called for a blob that should be published and is not whole on disk."""

    def __init__(
        self,
        link: Link,
        fleet: str,
        builds: Builds,
        clock: Clock,
        *,
        on_lost: Callable[[BlobId, EdgesyncError], None],
        patience: Patience | None = None,
    ) -> None:
        self._root = topics.firmware(fleet)
        self._link, self._fleet, self._builds, self._clock, self._on_lost = link, fleet, builds, clock, on_lost
        self._patience = patience or Patience()
        self._desired: dict[DeviceId, bytes] = {}
        self._names: dict[DeviceId, frozenset[BlobId]] = {}
        self._named: Counter[BlobId] = Counter()
        self._lost: set[BlobId] = set()
        self._gone: set[DeviceId] = set()
        self._members: frozenset[DeviceId] | None = None
        self._held = _Held()
        self._doomed: dict[BlobId, float] = {}
        self._published_at: dict[BlobId, float] = {}
        self._again: set[BlobId] = set()
        self._connected = self._audited = self._working = False
        self._last_heard = 0.0
        self._kick = asyncio.Event()
        self.blobs_published = 0
        self.desired_published = 0

    # --- what should be there -----------------------------------------------------------------------------------

    def desire(self, device: DeviceId, packed: bytes, blobs: frozenset[BlobId]) -> None:
        """The signed desired state of a board, and the blobs that it names."""
        self._names_change(device, blobs)
        self._desired[device] = packed
        self._gone.discard(device)
        self._kick.set()

    def forget(self, device: DeviceId) -> None:
        """The board left the fleet."""
        self._names_change(device, frozenset())
        self._desired.pop(device, None)
        self._gone.add(device)
        self._kick.set()

    def members(self, devices: frozenset[DeviceId]) -> None:
        """All boards of the fleet: a desired state on the broker for any other is withdrawn."""
        self._members = devices
        self._kick.set()

    def republish(self, blob: BlobId) -> None:
        """A board asked in vain: check the blob on disk and publish it again, unless that was done just now."""
        self._again.add(blob)
        self._kick.set()

    def restored(self, blob: BlobId) -> None:
        """A lost blob is whole on disk again."""
        self._lost.discard(blob)
        self._kick.set()

    def holds(self, blob: BlobId) -> bool:
        """True while the blob is on the broker or should be."""
        return blob in self._held.blobs or self._named[blob] > 0

    @property
    def idle(self) -> bool:
        """True when the broker holds what it should, as far as is known."""
        return self._audited and not self._working and not self._kick.is_set() and not self._due()

    # --- what the link says -------------------------------------------------------------------------------------

    def up(self) -> None:
        self._connected, self._audited = True, False
        self._kick.set()

    def down(self) -> None:
        self._connected = self._audited = False

    def heard(self, topic: topics.Topic, payload: bytes) -> None:
        """A retained index or desired state. An empty payload is one that was withdrawn."""
        if self._audited:
            return
        self._last_heard = self._clock.monotonic()
        if topic.kind == "index" and topic.blob and payload and topic.device is None:
            self._held.blobs[topic.blob] = payload
        elif topic.kind == "desired" and topic.device and payload:
            self._held.desired[topic.device] = payload

    # --- the task -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._kick.wait(), self._patience.again)
            except asyncio.TimeoutError:  # the builtin TimeoutError only from Python 3.11 on
                pass  # deadlines of withdrawn blobs pass without anyone saying so
            self._kick.clear()
            if not self._connected:
                continue
            try:
                if not self._audited:
                    await self._audit()
                self._working = True
                await self._reconcile()
            except LinkError as error:
                log.warning("publishing stopped: %s", error)
                self._audited = False
                await asyncio.sleep(RETRY_AFTER)
                self._kick.set()
            finally:
                self._working = False

    async def _audit(self) -> None:
        """Learn what the broker holds. It cannot say that it has told all, so silence has to do."""
        self._held = _Held()
        filters = *topics.all_indexes(self._fleet), topics.all_boards(self._fleet, "desired")
        self._link.subscribe(*filters, qos=1)
        start = self._last_heard = self._clock.monotonic()
        while (now := self._clock.monotonic()) - self._last_heard < self._patience.quiet:
            if now - start > self._patience.audit:
                break
            await asyncio.sleep(self._patience.quiet / 4)
            if not self._connected:
                raise LinkError("the connection broke during the audit")
        self._link.unsubscribe(*filters)
        self._audited = True
        log.info("the broker holds blobs=%d desired=%d", len(self._held.blobs), len(self._held.desired))
        for blob, payload in list(self._held.blobs.items()):
            if self._named[blob] and not self._is_ours(blob, payload):
                log.warning("the broker holds a wrong index of blob %s", blob)
                del self._held.blobs[blob]

    async def _reconcile(self) -> None:
        """Publish until nothing is due; what is asked for meanwhile is seen in the next round."""
        for blob in sorted(self._again):
            self._again.discard(blob)
            if self._clock.monotonic() - self._published_at.get(blob, -self._patience.again) >= self._patience.again:
                self._held.blobs.pop(blob, None)
        for blob in [b for b, count in self._named.items() if count and b not in self._held.blobs]:
            await self._publish_blob(blob)
        due = self._due()
        if due:
            await self._send((topics.desired(self._fleet, device), packed) for device, packed in due.items())
            self._held.desired.update(due)
            self.desired_published += len(due)
            log.info("published desired=%d", len(due))
        await self._withdraw_boards()
        await self._withdraw_blobs()

    def _due(self) -> dict[DeviceId, bytes]:
        """Desired states that differ from the broker's and whose blobs are all there."""
        return {
            device: packed
            for device, packed in self._desired.items()
            if self._held.desired.get(device) != packed and self._names[device] <= self._held.blobs.keys()
        }

    async def _publish_blob(self, blob: BlobId) -> None:
        if blob in self._lost:
            return
        try:
            files = await asyncio.to_thread(self._builds.verify, blob)
        except EdgesyncError as error:
            self._lost.add(blob)
            self._on_lost(blob, error)
            return
        await self._send(_blocks(self._root, files))
        await self._send((topics.leaf(self._root, blob, n), leaf) for n, leaf in enumerate(files.leaves))
        await self._send(iter([(topics.index(self._root, blob), files.index.encode())]))
        self._held.blobs[blob] = files.index.encode()
        self._published_at[blob] = self._clock.monotonic()
        self._doomed.pop(blob, None)
        self.blobs_published += 1
        log.info("published blob=%s bytes=%d messages=%d", blob, files.index.length, files.index.blocks)

    async def _withdraw_boards(self) -> None:
        foreign = set(self._held.desired) - self._members if self._members is not None else set()
        gone = [device for device in foreign | (self._gone & set(self._held.desired)) if device not in self._desired]
        await self._send((topics.desired(self._fleet, device), b"") for device in gone)
        for device in gone:
            del self._held.desired[device]
            self._gone.discard(device)

    async def _withdraw_blobs(self) -> None:
        now = self._clock.monotonic()
        for blob, payload in list(self._held.blobs.items()):
            if self._named[blob]:
                self._doomed.pop(blob, None)
            elif now >= self._doomed.setdefault(blob, now + self._patience.grace):
                await self._withdraw(blob, payload)

    async def _withdraw(self, blob: BlobId, payload: bytes) -> None:
        await self._send(iter([(topics.index(self._root, blob), b"")]))
        try:
            index = parse_index(blob, payload)
        except EdgesyncError as error:
            log.warning("withdrew the index of a foreign blob; its blocks cannot be known: %s", error)
        else:
            await self._send((topic, b"") for topic in _topics(self._root, blob, index))
        self._held.blobs.pop(blob, None)
        self._doomed.pop(blob, None)
        log.info("withdrew blob=%s", blob)

    async def _send(self, messages: Iterator[Message]) -> None:
        """Deliver all, a window at a time. Raises LinkError when one is not acknowledged."""
        pending: set[asyncio.Task[None]] = set()
        try:
            for topic, payload in messages:
                pending.add(asyncio.ensure_future(self._deliver(topic, payload)))
                if len(pending) >= WINDOW:
                    pending = await _settle(pending)
            while pending:
                pending = await _settle(pending)
        finally:
            for task in pending:
                task.cancel()

    async def _deliver(self, topic: str, payload: bytes) -> None:
        try:
            await asyncio.wait_for(self._link.deliver(topic, payload), ACK_LIMIT)
        except asyncio.TimeoutError as error:
            raise LinkError(f"publish to {topic}: no acknowledgement for {ACK_LIMIT:.0f} s") from error

    def _names_change(self, device: DeviceId, blobs: frozenset[BlobId]) -> None:
        self._named.update(blobs)
        self._named.subtract(self._names.get(device, frozenset()))
        self._named = +self._named
        self._names[device] = blobs

    def _is_ours(self, blob: BlobId, payload: bytes) -> bool:
        try:
            parse_index(blob, payload)
        except EdgesyncError:
            return False
        return True


async def _settle(pending: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, rest = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


def _blocks(root: str, files: BlobFiles) -> Iterator[Message]:
    for number in range(files.index.pieces):
        for block, data in enumerate(split(files.index, number, files.piece(number))):
            yield topics.block(root, files.blob, number, block), data


def _topics(root: str, blob: BlobId, index: BlobIndex) -> Iterator[str]:
    for leaf in range(len(index.leaves)):
        yield topics.leaf(root, blob, leaf)
    for number in range(index.pieces):
        for block in range(index.blocks_of(number)):
            yield topics.block(root, blob, number, block)
