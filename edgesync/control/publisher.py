"""What the broker shall hold, and the one task that makes it so.

The rest of the server only says what should be there (`desire`, `forget`, `republish`). The task compares that with
what is there, publishes blobs (blocks, leaves, index), then the desired states that name them, and withdraws (index
first) what no desired state names any more, after a grace time. At every connect it looks at what the broker really
holds: a broker that came back empty, a foreign blob, a wrong index and an old desired state are all the same case, a
difference. Firmware lies on disk and under one root for all boards, a board's config in memory and under a root of its
own; in everything else their blobs are alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgesync.control.builds import Builds
from edgesync.control.configblobs import ConfigBlob
from edgesync.host.clock import Clock
from edgesync.wire import topics
from edgesync.wire.blob import PIECE, BlobIndex, build, parse_index, split
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
Key = tuple[str, BlobId]
"""A blob on the broker: the root of its topics, and its id."""


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

    blobs: dict[Key, bytes] = field(default_factory=dict)
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
        self._names: dict[DeviceId, frozenset[Key]] = {}
        self._named: Counter[Key] = Counter()
        self._configs: dict[Key, bytes] = {}
        self._lost: set[BlobId] = set()
        self._gone: set[DeviceId] = set()
        self._members: frozenset[DeviceId] | None = None
        self._held = _Held()
        self._doomed: dict[Key, float] = {}
        self._published_at: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._connected = self._audited = self._working = False
        self._last_heard = 0.0
        self._kick = asyncio.Event()
        self.blobs_published = 0
        self.configs_published = 0
        self.desired_published = 0

    # --- what should be there -----------------------------------------------------------------------------------

    def desire(
        self, device: DeviceId, packed: bytes, blobs: frozenset[BlobId], config: ConfigBlob | None = None
    ) -> None:
        """The signed desired state of a board, and the blobs that it names: of firmware, and of its config."""
        names = {(self._root, blob) for blob in blobs}
        if config:
            key = topics.config(self._fleet, device), config.source.blob
            self._configs[key] = config.data
            names.add(key)
        self._names_change(device, frozenset(names))
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

    def republish(self, blob: BlobId, device: DeviceId | None = None) -> None:
        """A board asked in vain: check the blob on disk and publish it again, unless that was done just now. With a
        `device`: a blob of that board's config.
        """
        key = topics.config(self._fleet, device) if device else self._root, blob
        if self._named[key]:
            self._again.add(key)
            self._kick.set()

    def restored(self, blob: BlobId) -> None:
        """A lost blob is whole on disk again."""
        self._lost.discard(blob)
        self._kick.set()

    def holds(self, blob: BlobId) -> bool:
        """True while the blob of firmware is on the broker or should be."""
        key = self._root, blob
        return key in self._held.blobs or self._named[key] > 0

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
        if topic.kind == "index" and topic.blob and payload:
            root = topics.config(self._fleet, topic.device) if topic.device else self._root
            self._held.blobs[root, topic.blob] = payload
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
        for key, payload in list(self._held.blobs.items()):
            if self._named[key] and not self._is_ours(key, payload):
                log.warning("the broker holds a wrong index of blob %s", key[1])
                del self._held.blobs[key]

    async def _reconcile(self) -> None:
        """Publish until nothing is due; what is asked for meanwhile is seen in the next round."""
        for key in sorted(self._again):
            self._again.discard(key)
            if self._clock.monotonic() - self._published_at.get(key, -self._patience.again) >= self._patience.again:
                self._held.blobs.pop(key, None)
        missing = [key for key, count in self._named.items() if count and key not in self._held.blobs]
        for key in missing:
            if key[0] == self._root:
                await self._publish_firmware(key[1])
        await self._publish_configs([key for key in missing if key[0] != self._root])
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

    async def _publish_configs(self, keys: Iterable[Key]) -> None:
        """Nearly all are one message each, and go out together."""
        alone: dict[Key, bytes] = {}
        for key in keys:
            data = self._configs.get(key)
            if data is None:
                continue  # another one is wanted by now
            pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
            index, leaves = build(pieces, len(data))
            if index.lone:
                alone[key] = index.lone
            else:
                await self._send_blob(key, index, leaves, pieces.__getitem__)
        await self._send((topics.index(*key), data) for key, data in alone.items())
        for key, data in alone.items():
            self._is_published(key, data)
        if alone:
            log.info("published configs=%d", len(alone))

    async def _publish_firmware(self, blob: BlobId) -> None:
        key = self._root, blob
        if blob in self._lost:
            return
        try:
            files = await asyncio.to_thread(self._builds.verify, blob)
        except EdgesyncError as error:
            self._lost.add(blob)
            self._on_lost(blob, error)
            return
        await self._send_blob(key, files.index, files.leaves, files.piece)
        log.info("published blob=%s bytes=%d messages=%d", blob, files.index.length, files.index.blocks)

    async def _send_blob(
        self, key: Key, index: BlobIndex, leaves: Sequence[bytes], piece: Callable[[int], bytes]
    ) -> None:
        """Its index last: whoever sees that can fetch all the rest."""
        await self._send(_blocks(key, index, piece))
        await self._send((topics.leaf(*key, n), leaf) for n, leaf in enumerate(leaves))
        await self._send(iter([(topics.index(*key), index.encode())]))
        self._is_published(key, index.encode())

    def _is_published(self, key: Key, payload: bytes) -> None:
        self._held.blobs[key] = payload
        self._published_at[key] = self._clock.monotonic()
        self._doomed.pop(key, None)
        if key[0] == self._root:
            self.blobs_published += 1
        else:
            self.configs_published += 1

    async def _withdraw_boards(self) -> None:
        foreign = set(self._held.desired) - self._members if self._members is not None else set()
        gone = [device for device in foreign | (self._gone & set(self._held.desired)) if device not in self._desired]
        await self._send((topics.desired(self._fleet, device), b"") for device in gone)
        for device in gone:
            del self._held.desired[device]
            self._gone.discard(device)

    async def _withdraw_blobs(self) -> None:
        now = self._clock.monotonic()
        due = [
            key
            for key in self._held.blobs
            if not self._named[key] and now >= self._doomed.setdefault(key, now + self._patience.grace)
        ]
        await self._send((topics.index(*key), b"") for key in due)
        await self._send((topic, b"") for key in due for topic in _topics(key, self._held.blobs[key]))
        for key in due:
            del self._held.blobs[key]
            self._doomed.pop(key, None)
            self._published_at.pop(key, None)
        if due:
            log.info("withdrew blobs=%d", len(due))

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

    def _names_change(self, device: DeviceId, names: frozenset[Key]) -> None:
        before = self._names.get(device, frozenset())
        self._names[device] = names
        for key in names - before:
            self._named[key] += 1
            self._doomed.pop(key, None)
        for key in before - names:
            self._named[key] -= 1
            if not self._named[key]:
                del self._named[key]
                self._configs.pop(key, None)

    def _is_ours(self, key: Key, payload: bytes) -> bool:
        try:
            parse_index(key[1], payload)
        except EdgesyncError:
            return False
        return True


async def _settle(pending: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, rest = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


def _blocks(key: Key, index: BlobIndex, piece: Callable[[int], bytes]) -> Iterator[Message]:
    for number in range(index.pieces):
        for block, data in enumerate(split(index, number, piece(number))):
            yield topics.block(*key, number, block), data


def _topics(key: Key, payload: bytes) -> Iterator[str]:
    """All topics of a blob but that of its index, which holds `payload`."""
    try:
        index = parse_index(key[1], payload)
    except EdgesyncError as error:
        log.warning("withdrew the index of a foreign blob; its blocks cannot be known: %s", error)
        return
    for leaf in range(len(index.leaves)):
        yield topics.leaf(*key, leaf)
    for number in range(index.pieces):
        for block in range(index.blocks_of(number)):
            yield topics.block(*key, number, block)
