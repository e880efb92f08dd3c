"""What the publisher sends, in which order, on a link that breaks whenever it likes. The broker is a dictionary."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.control.builds import Builds
from edgesync.control.publisher import WINDOW, Patience, Publisher
from edgesync.host.clock import SystemClock
from edgesync.wire import topics
from edgesync.wire.blob import build
from edgesync.wire.errors import EdgesyncError, LinkError
from edgesync.wire.ids import BlobId, DeviceId

A, B = DeviceId("demo.a"), DeviceId("demo.b")
QUICK = Patience(grace=0.05, again=0.05, quiet=0.02)


class Broker:
    """Retained messages, each publish in order, the most that were on their way at once. `fail_at`: publishes that
    break the link. `blind`: publishes are not kept, as by a broker whose store is lost at once.
    """

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.fail_at: set[int] = set()
        self.flying = self.most = 0
        self.publisher: Publisher | None = None

    def subscribe(self, *filters: str, qos: int = 0) -> None:
        assert self.publisher
        for topic, payload in list(self.retained.items()):
            parsed = topics.parse(topic)
            if parsed.kind in ("index", "desired") and qos == 1 and len(filters) == 3:
                self.publisher.heard(parsed, payload)

    def unsubscribe(self, *filters: str) -> None:
        pass

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        assert retain
        self.flying += 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(0)
        self.flying -= 1
        if len(self.sent) in self.fail_at:
            self.fail_at.discard(len(self.sent))
            raise LinkError("cut")
        self.sent.append(topic)
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)


class Shelf:
    """A Builds with blobs that are written, not made."""

    def __init__(self, place: Path) -> None:
        self.builds = Builds(place, lambda _digest: None)
        self.place = place

    def blob(self, length: int) -> BlobId:
        data = bytes(n % 251 for n in range(length))
        index, leaves = build((data[at : at + 16384] for at in range(0, length, 16384)), length)
        (self.place / index.blob).write_bytes(data)
        (self.place / f"{index.blob}.index").write_bytes(index.encode() + b"".join(leaves))
        return index.blob


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "blobs")


@contextlib.asynccontextmanager
async def publishing(shelf: Shelf, broker: Broker) -> AsyncIterator[Publisher]:
    lost: list[tuple[BlobId, EdgesyncError]] = []
    publisher = Publisher(
        broker, "demo", shelf.builds, SystemClock(), on_lost=lambda *what: lost.append(what), patience=QUICK
    )
    broker.publisher = publisher
    publisher.lost_for_test = lost  # type: ignore[attr-defined]
    task = asyncio.ensure_future(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def settled(publisher: Publisher) -> None:
    async with asyncio.timeout(20):
        await asyncio.sleep(0.05)
        while not publisher.idle:
            await asyncio.sleep(0.01)


def kinds(sent: list[str]) -> list[str]:
    """Runs of kinds, in order."""
    found: list[str] = []
    for topic in sent:
        kind = topics.parse(topic).kind
        if found[-1:] != [kind]:
            found.append(kind)
    return found


def test_blocks_then_leaves_then_index_then_desired_and_never_more_than_a_window_at_once(shelf: Shelf) -> None:
    async def flow() -> None:
        broker = Broker()
        blob = shelf.blob(9 * 1024 * 1024)
        async with publishing(shelf, broker) as publisher:
            publisher.desire(A, b"signed", frozenset({blob}))
            publisher.up()
            await settled(publisher)
            assert kinds(broker.sent) == ["block", "leaf", "index", "desired"]
            assert len(set(broker.sent)) == len(broker.sent) == 1152 + 2 + 1 + 1
            assert 2 <= broker.most <= WINDOW

    asyncio.run(flow())


def test_withdrawing_begins_with_the_index_and_waits_for_the_grace_time(shelf: Shelf) -> None:
    async def flow() -> None:
        broker = Broker()
        blob = shelf.blob(40_000)
        async with publishing(shelf, broker) as publisher:
            publisher.desire(A, b"one", frozenset({blob}))
            publisher.up()
            await settled(publisher)
            assert publisher.holds(blob)
            broker.sent.clear()
            publisher.desire(A, b"two", frozenset())
            await settled(publisher)
            assert broker.sent == [topics.desired("demo", A)]
            await asyncio.sleep(0.3)
            assert kinds(broker.sent) == ["desired", "index", "leaf", "block"]
            assert list(broker.retained) == [topics.desired("demo", A)]
            assert not publisher.holds(blob)

    asyncio.run(flow())


@given(st.sets(st.integers(0, 60), max_size=4), st.integers(0, 60))
@settings(max_examples=15)
def test_wherever_the_link_breaks_the_broker_ends_with_what_it_should_hold(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], wipe: int
) -> None:
    async def flow(shelf: Shelf) -> None:
        broker = Broker()
        blob = shelf.blob(300_000)
        broker.fail_at = set(cuts)
        async with publishing(shelf, broker) as publisher:
            publisher.desire(A, b"a", frozenset({blob}))
            publisher.desire(B, b"b", frozenset())
            publisher.up()
            for _ in range(len(cuts) + 1):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await settled(publisher)
                publisher.down()
                if len(broker.sent) > wipe:
                    broker.retained.clear()
                publisher.up()
            broker.fail_at.clear()
            publisher.up()
            async with asyncio.timeout(20):
                while not publisher.idle:
                    await asyncio.sleep(0.02)
            files = shelf.builds.open(blob)
            assert broker.retained[topics.index(topics.firmware("demo"), blob)] == files.index.encode()
            assert len(broker.retained) == files.index.blocks + len(files.leaves) + 1 + 2

    import edgesync.control.publisher as module

    module.RETRY_AFTER, saved = 0.01, module.RETRY_AFTER  # type: ignore[misc]
    try:
        asyncio.run(flow(Shelf(tmp_path_factory.mktemp("blobs"))))
    finally:
        module.RETRY_AFTER = saved  # type: ignore[misc]


def test_a_blob_that_is_not_whole_is_told_once_and_its_desired_waits(shelf: Shelf) -> None:
    async def flow() -> None:
        broker = Broker()
        blob = shelf.blob(40_000)
        data = (shelf.place / blob).read_bytes()
        (shelf.place / blob).write_bytes(b"rotten")
        async with publishing(shelf, broker) as publisher:
            publisher.desire(A, b"a", frozenset({blob}))
            publisher.desire(B, b"b", frozenset())
            publisher.up()
            await asyncio.sleep(0.3)
            assert [what[0] for what in publisher.lost_for_test] == [blob]  # type: ignore[attr-defined]
            assert broker.sent == [topics.desired("demo", B)]
            (shelf.place / blob).write_bytes(data)
            publisher.restored(blob)
            await settled(publisher)
            assert topics.desired("demo", A) in broker.retained

    asyncio.run(flow())


def test_a_blob_that_many_boards_miss_is_published_again_once(shelf: Shelf) -> None:
    async def flow() -> None:
        broker = Broker()
        blob = shelf.blob(40_000)
        async with publishing(shelf, broker) as publisher:
            publisher.desire(A, b"a", frozenset({blob}))
            publisher.up()
            await settled(publisher)
            await asyncio.sleep(QUICK.again)
            for _ in range(100):
                publisher.republish(blob)
            await settled(publisher)
            assert publisher.blobs_published == 2

    asyncio.run(flow())


def test_a_board_that_left_and_a_stranger_are_cleared_and_members_stay(shelf: Shelf) -> None:
    async def flow() -> None:
        broker = Broker()
        stranger = topics.desired("demo", DeviceId("demo.stranger"))
        unoffered = topics.desired("demo", DeviceId("demo.new"))
        broker.retained = {stranger: b"x", unoffered: b"y"}
        async with publishing(shelf, broker) as publisher:
            publisher.desire(A, b"a", frozenset())
            publisher.up()
            await settled(publisher)
            assert stranger in broker.retained  # until git is read, nobody is a stranger
            publisher.members(frozenset({A, DeviceId("demo.new")}))
            await asyncio.sleep(0.1)
            assert set(broker.retained) == {unoffered, topics.desired("demo", A)}
            publisher.forget(A)
            publisher.members(frozenset({DeviceId("demo.new")}))
            await asyncio.sleep(0.1)
            assert set(broker.retained) == {unoffered}

    asyncio.run(flow())
