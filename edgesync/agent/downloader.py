"""Drives one `Fetch` at a time: subscriptions to the link, pieces to the disk, and what the machine must know.

When the broker starves us and the signed source names a URL, the missing pieces come from there by HTTP Range, checked
by the same hashes; the subscriptions stay, and whichever answers first wins.

A fetch begins when the gate lets it, goes at the pace that the fleet's manners ask for, and stops between two pieces
where the budget ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

from edgesync.agent import actions, events
from edgesync.agent.fetch import Fetch
from edgesync.agent.gate import Deed, Gate, What
from edgesync.agent.ledger import Ledger
from edgesync.agent.pace import Pace
from edgesync.agent.staging import Staging, parse_stored, stored_limit
from edgesync.host import threads
from edgesync.host.clock import Clock
from edgesync.host.mqtt import MqttLink
from edgesync.wire import blob as layout
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.ids import BlobId
from edgesync.wire.messages import Source
from edgesync.wire.topics import Topic

TICK = 1.0
"""Seconds between two looks at the silence timer."""
HTTP_FIRST, HTTP_LIMIT = 30.0, 3600.0
"""Seconds between two tries of an HTTP source that failed: doubled each time up to the limit."""

log = logging.getLogger("edgesync.fetch")

Emit = Callable[[events.FetchEvent], None]


class Downloader:
    """Fetches blobs of `what` below the topic `root`. `emit` takes the decider's events; `done` and `total` are bytes
    of the current blob.
    """

    def __init__(
        self,
        root: str,
        link: MqttLink,
        *,
        what: What,
        staging: Staging,
        ledger: Ledger,
        gate: Gate,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._root, self._link, self._staging, self._ledger = root, link, staging, ledger
        self._what, self._gate, self._clock, self._emit = what, gate, clock, emit
        self._fetch: Fetch | None = None
        self._source: Source | None = None
        self._task: asyncio.Task[None] | None = None
        self._http: asyncio.Task[None] | None = None
        self._connected = False
        self._counted = (0, 0, 0)
        self._told = False

    @property
    def done(self) -> int:
        return self._fetch.done if self._fetch else 0

    @property
    def total(self) -> int:
        return self._source.length if self._source else 0

    def start(self, source: Source) -> None:
        """Fetch this blob. The same one again goes on, and asks the broker anew only where it was silent."""
        fetch = self._fetch if self._task and not self._task.done() else None
        if fetch and fetch.blob == source.blob and not fetch.complete:
            self._source = source
            if fetch.starved:
                self._do(fetch.ask_anew(self._clock.monotonic()))
            return
        self.stop()
        self._source = source
        self._task = asyncio.get_running_loop().create_task(self._run(source), name="fetch")

    def stop(self) -> None:
        for task in (self._task, self._http):
            if task:
                task.cancel()
        self._task = self._http = None
        if self._fetch:
            self._do(self._fetch.stop())
        self._fetch = self._source = None

    def stop_unless(self, blob: BlobId | None) -> None:
        """Stop the fetch of any other blob."""
        if self._source and self._source.blob != blob:
            self.stop()

    def link_up(self) -> None:
        self._connected = True
        if self._fetch:
            self._do(self._fetch.connected(self._clock.monotonic()))

    def link_down(self) -> None:
        self._connected = False
        if self._fetch:
            self._fetch.disconnected()

    def received(self, topic: Topic, payload: bytes) -> None:
        """A message on a topic of blobs."""
        if self._fetch is None or topic.blob != self._fetch.blob:
            self._add(refetched=len(payload))  # it was on its way when the fetch was stopped
            return
        self._do(self._fetch.received(topic, payload, self._clock.monotonic()))
        self._count()

    async def _run(self, source: Source) -> None:
        """One fetch, from what is on the disk to the last piece."""
        try:
            staged = await threads.run(partial(self._staging.open, source.blob, source.length))
        except EdgesyncError as error:
            self._emit(events.FetchFailed(source.blob, error))
            return
        pace = Pace(self._gate.manners)
        fetch = Fetch(
            self._root,
            source.blob,
            source.length,
            index=staged.index,
            leaves=staged.leaves,
            have=staged.have,
            pace=pace,
        )
        if not fetch.complete:
            await self._let_through(fetch)
        self._fetch = fetch
        self._counted, self._told = (0, 0, fetch.done), False
        log.info("fetch blob=%s bytes=%d have=%d", source.blob, source.length, fetch.done)
        self._do(fetch.connected(self._clock.monotonic()) if self._connected else [])
        while not fetch.complete:
            await asyncio.sleep(TICK)
            pace.follow(self._gate.manners)
            self._do(fetch.tick(self._clock.monotonic(), self._link.carried.inward, answered=self._link.answered))
            if pace.stopped and (fetch.resting or fetch.starved):
                await self._let_through(fetch)
                pace.stopped = False

    async def _let_through(self, fetch: Fetch) -> None:
        """Wait at the gate with what is left to fetch."""
        deed = Deed("fetch", self._what, fetch.length - fetch.done)
        if await self._gate.passed(deed, lambda error: self._emit(events.PutOff(fetch.blob, error))):
            self._emit(events.LetThrough(fetch.blob))

    async def _run_http(self, fetch: Fetch, source: Source) -> None:
        """What the broker did not give, from the HTTP source, until the fetch is complete or stopped."""
        from edgesync.agent import ranges  # noqa: PLC0415 - weighs 1 MiB with http and email, and few boards need it

        log.info("fetch blob=%s from %s", source.blob, source.url)
        wait, count = HTTP_FIRST, self._ledger.add_elsewhere
        while not fetch.complete:
            try:
                if fetch.index is None or len(fetch.leaves) < len(fetch.index.leaves):
                    limit = stored_limit(source.length)
                    stored = await ranges.read_index(source.url, source.blob, limit, count=count)
                    index, leaves = parse_stored(source.blob, stored)
                    self._do(fetch.take_index(index.encode(), leaves, self._clock.monotonic()))
                # From the end, for the broker gives from the beginning: what both give is paid for twice.
                for number in reversed(fetch.missing()):
                    if number in fetch.have:
                        continue
                    assert fetch.index is not None
                    offset, size = number * fetch.index.piece, fetch.index.piece_length(number)
                    while not fetch.pace.free(began := self._clock.monotonic()):
                        await asyncio.sleep(TICK)
                    fetch.pace.asked(size, began)
                    data = await ranges.read(source.url, source.blob, offset, size, count=count)
                    now = self._clock.monotonic()
                    fetch.pace.came(now - began, now)
                    self._do(fetch.take_piece(number, data, now))
                    self._count()
            except EdgesyncError as error:
                log.warning("%s: %s", error.name, error)
                self._emit(events.Noticed(error))
            if not fetch.complete:
                await asyncio.sleep(wait)
                wait = min(HTTP_LIMIT, 2 * wait)

    def _do(self, asked: Iterable[actions.Action]) -> None:
        """Perform what the fetch asks for; a disk that fails ends it."""
        fetch, source = self._fetch, self._source
        if fetch is None or source is None:
            return
        left = iter(asked)
        try:
            for action in left:
                self._perform(action, fetch, source)
        except EdgesyncError as error:
            log.warning("fetch stopped: %s: %s", error.name, error)
            self.stop()
            for action in left:
                if isinstance(action, actions.Unsubscribe):
                    self._link.unsubscribe(*action.filters)
            self._emit(events.FetchFailed(source.blob, error))
            return
        if fetch.complete and not self._told:
            self._told = True
            self._count()
            self._emit(events.Fetched(source.blob))

    def _perform(self, action: actions.Action, fetch: Fetch, source: Source) -> None:
        match action:
            case actions.Subscribe(filters):
                self._link.subscribe(*filters)
            case actions.Unsubscribe(filters):
                self._link.unsubscribe(*filters)
            case actions.KeepIndex(index, leaves):
                self._staging.keep_index(source.blob, index, leaves)
            case actions.KeepPiece(offset, data):
                self._staging.keep_piece(source.blob, offset, data)
                self._ledger.look(self._link.carried, self._gate.now())
                fetch.pace.stopped = self._gate.spent(self._what, layout.PIECE, begun=True) is not None
            case actions.Starved(error):
                log.warning("%s: %s", error.name, error)
                self._emit(events.FetchStarved(source.blob, error))
                if source.url and (self._http is None or self._http.done()):
                    self._http = asyncio.get_running_loop().create_task(self._run_http(fetch, source), name="http")
            case actions.Flowing():
                self._emit(events.FetchFlows(source.blob))
            case actions.Refused(error):
                log.warning("%s: %s", error.name, error)
                self._emit(events.Noticed(error))
            case actions.Withdrawn(error):
                raise error

    def _count(self) -> None:
        """Write what has arrived since the last call to the ledger."""
        if self._fetch is None:
            return
        arrived, metadata, kept = self._fetch.arrived, self._fetch.metadata, self._fetch.done
        was_arrived, was_metadata, was_kept = self._counted
        blob = kept - was_kept
        # Blocks of open pieces count as refetched until their piece is kept: a kill makes that true.
        self._add(blob=blob, refetched=arrived - was_arrived - blob, metadata=metadata - was_metadata)
        self._counted = (arrived, metadata, kept)
        self._ledger.save()

    def _add(self, *, blob: int = 0, refetched: int = 0, metadata: int = 0) -> None:
        if self._what == "config":
            self._ledger.add_config(blob + refetched + metadata)
        else:
            self._ledger.add(blob=blob, refetched=refetched, metadata=metadata)
