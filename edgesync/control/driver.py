"""Drives the rollout's state machine: events in, the new state saved, then its effects carried out.

Events wait in a bounded queue and are taken in batches: one transaction a batch, however many boards talk at once.
Signing (`edgesync.control.signing`) and SQL run in a thread, so that the event loop, and with it the connection to the
broker, never waits for them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from securesystemslib.signer import CryptoSigner

from edgesync.control import journal, rollout, spans
from edgesync.control.builds import Builds
from edgesync.control.planner import BlobKey, Built
from edgesync.control.publisher import Publisher
from edgesync.control.signing import Signing
from edgesync.control.standing import (
    BlobFailed,
    BlobGone,
    BlobReady,
    BoardReported,
    Effect,
    EnsureBlob,
    Event,
    Forget,
    Hold,
    Offer,
    Offered,
    Prepare,
    Republish,
    RepublishConfig,
    State,
    Status,
)
from edgesync.control.state import Batch, Entry, Heard, Loaded, Presence, Store
from edgesync.host.clock import Clock
from edgesync.host.tasks import end
from edgesync.wire.errors import EdgesyncError, StorageError
from edgesync.wire.ids import BlobId, DeviceId, Digest
from edgesync.wire.messages import ErrorReport, Source
from edgesync.wire.trace import Span

log = logging.getLogger("edgesync.rollout")

QUEUE_LIMIT = 20_000
BATCH_LIMIT = 500
SAVE_AGAIN_AFTER = 5.0
"""Seconds until a save that failed is tried again: a full disk or a database that restarts."""

_T = TypeVar("_T")


class Driver:
    """The one owner of the rollout's state, which others read from `state` between two batches."""

    def __init__(
        self,
        store: Store,
        loaded: Loaded,
        builds: Builds,
        signer: CryptoSigner,
        clock: Clock,
        *,
        on_saved: Callable[[State, State], None] = lambda _before, _after: None,
        on_spans: Callable[[Iterable[Span]], None] = lambda _spans: None,
    ) -> None:
        """`on_saved` is told each two states that follow one another, the second one saved; `on_spans` what ended with
        it, in the thread that saved it.
        """
        kept = builds.kept()
        blobs = {k: b for k, b in loaded.state.blobs.items() if isinstance(b, Built) and b.blob in kept}
        self.state = replace(loaded.state, blobs=blobs)
        self.problem = ""
        self.making: dict[BlobKey, tuple[str, int, int]] = {}
        self._store, self._builds, self._clock = store, builds, clock
        self._signed = dict(loaded.signed)
        self._on_saved, self._on_spans = on_saved, on_spans
        self._signing = Signing(store, signer, self)
        self._bundles = loaded.bundles
        self._publisher: Publisher | None = None
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_LIMIT)
        self._heard: dict[DeviceId, Heard] = {}
        self._presence: dict[DeviceId, Presence] = {}
        self._entries: list[Entry] = []
        self._spans: list[Span] = []
        # From the time on, so that a server that was restarted gives no two blobs of a rollout one span.
        self._blob_numbers = itertools.count(int(clock.wall()))
        self._tasks: dict[BlobKey, asyncio.Task[None]] = {}
        self._thread = ThreadPoolExecutor(1, "edgesync-state")

    async def submit(self, event: Event) -> None:
        """Waits while the queue is full, which is back-pressure on whoever brings events."""
        await self._queue.put(event)

    async def settled(self) -> None:
        """Until everything submitted so far is decided and saved."""
        await self._queue.join()

    def note(
        self,
        *,
        heard: tuple[DeviceId, Heard] | None = None,
        presence: tuple[DeviceId, Presence] | None = None,
        entry: Entry | None = None,
    ) -> None:
        """Saved with the next batch."""
        if heard:
            self._heard[heard[0]] = heard[1]
        if presence:
            self._presence[presence[0]] = presence[1]
        if entry:
            self._entries.append(entry)

    def entry(self, event: str, detail: str, device: str = "") -> Entry:
        """A line of history about now."""
        state = self.state
        return Entry(self._clock.wall(), device, state.rollout, state.revision, state.author, event, detail)

    @property
    def idle(self) -> bool:
        """True when nothing that was decided waits to be signed."""
        return self._signing.idle

    def in_force(self, device: DeviceId) -> Offered | None:
        """The desired state of a board."""
        board = self.state.boards.get(device)
        return board.offered if board else None

    def config_source(self, device: DeviceId) -> Source | None:
        """How the config of a board's desired state gets to it, None where nothing is sent."""
        return self._signing.sources.get(device)

    def refused(self, device: DeviceId, error: EdgesyncError) -> None:
        """A desired state that cannot be signed."""
        log.error("%s: %s: %s", device, error.name, error)
        self.note(entry=self.entry(error.name, str(error), device))

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Run blocking work on the thread that owns the database."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run(self, publisher: Publisher) -> None:
        """Until cancelled; children are killed then."""
        self._publisher = publisher
        self._restore(publisher)
        signing = asyncio.ensure_future(self._signing.run(publisher))
        try:
            while True:
                events = [await self._queue.get()]
                while not self._queue.empty() and len(events) < BATCH_LIMIT:
                    events.append(self._queue.get_nowait())
                before = self.state
                # A commit moves every board: seconds of work for thousands of them, in which others still ask.
                self.state, effects, entries, ended = await asyncio.to_thread(self._decide, before, events)
                self._entries += entries
                self._spans += ended
                for event in events:
                    if isinstance(event, BlobReady | BlobFailed):
                        self._tasks.pop(event.key, None)
                await self._save(before)
                if self.state.spec and self.state.spec is not before.spec:
                    publisher.members(frozenset(self.state.spec.wanted))
                self._on_saved(before, self.state)
                self._perform(effects)
                for _ in events:
                    self._queue.task_done()
                if signing.done():
                    signing.result()
        finally:
            await end([signing, *self._tasks.values()])
            self._thread.shutdown(wait=True)

    def lost(self, blob: BlobId, error: EdgesyncError) -> None:
        """A blob is not whole on disk: it is made again for those who still need it."""
        log.error("%s: %s", error.name, error)
        for key, made in self.state.blobs.items():
            if isinstance(made, Built) and made.blob == blob:
                self._queue.put_nowait(BlobGone(key))

    def _decide(self, state: State, events: Iterable[Event]) -> tuple[State, list[Effect], list[Entry], list[Span]]:
        effects: list[Effect] = []
        entries: list[Entry] = []
        ended: list[Span] = []
        for event in events:
            now, before = self._clock.wall(), state
            state, more = rollout.step(before, event, now)
            effects += more
            device = event.reported.device if isinstance(event, BoardReported) else None
            entries += journal.entries(before, state, now, device)
            ended += spans.ended(before, state, now, device)
        return state, effects, entries, ended

    async def _save(self, before: State) -> None:
        bundles = self._new_bundles() if self.state.spec is not before.spec else {}
        batch = Batch(before, self.state, self._heard, self._presence, self._entries, bundles)
        ended = self._spans
        self._heard, self._presence, self._entries, self._spans = {}, {}, [], []

        def save() -> None:
            self._store.save(batch)
            self._on_spans(ended)
            for entry in batch.entries:
                log.info("%s %s %s", entry.device or "fleet", entry.event, entry.detail)

        await self.persist(save)
        self._bundles |= bundles.keys()

    def _new_bundles(self) -> dict[Digest, bytes]:
        assert self.state.spec is not None
        configs = (wanted.config for wanted in self.state.spec.wanted.values())
        return {config.sha256: config.data for config in configs if config and config.sha256 not in self._bundles}

    async def persist(self, save: Callable[[], None]) -> None:
        """Save, however long the database takes to come back: nothing may be done that is not saved."""
        while True:
            try:
                await self.in_thread(save)
            except StorageError as error:
                self.problem = f"{error.name}: {error}"
                log.error("%s", self.problem)  # noqa: TRY400 - the text says all, a traceback nothing
                await asyncio.sleep(SAVE_AGAIN_AFTER)
            else:
                self.problem = ""
                return

    def _perform(self, effects: Iterable[Effect]) -> None:
        assert self._publisher is not None
        offers: dict[DeviceId, Offered] = {}
        for effect in effects:
            match effect:
                case Offer(offered) | Hold(offered):
                    offers[offered.desired.device] = offered
                case EnsureBlob(key):
                    if key not in self._tasks:
                        self._tasks[key] = asyncio.ensure_future(self._make(key))
                case Prepare(key):
                    if not self._tasks:
                        self._tasks[key] = asyncio.ensure_future(self._make(key))
                case Republish(blob):
                    self._publisher.republish(blob)
                case RepublishConfig(device, blob):
                    self._publisher.republish(blob, device)
                case Forget(device):
                    offers.pop(device, None)
                    self._signing.forget(device)
                    self._publisher.forget(device)
        self._signing.put(offers)

    def _restore(self, publisher: Publisher) -> None:
        """What was decided before the restart: published as it was signed, or signed now if that was cut off."""
        unsigned = {}
        kept, self._signed = self._signed, {}
        for device, board in self.state.boards.items():
            offered, signed = board.offered, kept.get(device)
            if offered is None:
                continue
            current = signed is not None and signed.version == offered.desired.version
            if signed and current and bool(signed.config) == bool(offered.new_config):
                self._signing.signed(publisher, device, offered, signed)
            else:
                unsigned[device] = offered
        self._signing.put(unsigned)

    async def _make(self, key: BlobKey) -> None:
        assert self._publisher is not None

        def progress(phase: str, done: int, total: int) -> None:
            self.making[key] = (phase, done, total)

        self.making[key] = ("waiting", 0, 0)
        event: Event
        whose, number, start = self.state.rollout, next(self._blob_numbers), self._clock.wall()
        length, failed = 0, ""
        try:
            built = await self._builds.make(key, progress)
        except EdgesyncError as error:
            log.error("%s: %s", error.name, error)  # noqa: TRY400 - the text says all
            event, failed = BlobFailed(key, ErrorReport.of(error)), error.name
        else:
            self._publisher.restored(built.blob)
            event, length = BlobReady(key, built), built.length
        finally:
            del self.making[key]
        end_at = self._clock.wall()
        self._spans.append(spans.made(whose, str(key), number, start, end_at, length=length, error=failed))
        await self.submit(event)

    async def sweep(self) -> None:
        """Forget and delete blobs that nobody needs: not on the broker, named by no board, leading nowhere wanted; and
        bundles that are neither wanted nor in force.
        """
        assert self._publisher is not None
        await self._sweep_bundles()
        if self._tasks:
            return  # a blob that is just finished is on disk before it is known
        boards = self.state.boards.values()
        wanted = {digest for b in boards if b.status is not Status.CONFIRMED for digest in b.wants.values()}
        used = set()
        for key, made in self.state.blobs.items():
            if isinstance(made, Built):
                if key.result in wanted or self._publisher.holds(made.blob):
                    used.add(made.blob)
                else:
                    await self.submit(BlobGone(key))
        for blob in self._builds.kept() - used:
            self._builds.remove(blob)

    async def _sweep_bundles(self) -> None:
        used = set()
        for board in self.state.boards.values():
            used |= {board.holds_config, board.wanted.config.sha256 if board.wanted.config else ""}
            used |= {board.offered.config_base, board.offered.new_config} if board.offered else set()
        gone = self._bundles - used
        self._bundles -= gone
        await self.persist(lambda: self._store.drop_config(gone))
