"""One fetch with a real disk and a real HTTP server. Only the link is played, to send what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from model_broker import ROOT, Link, blob_of

from edgesync.agent import downloader as module
from edgesync.agent import events, fetch
from edgesync.agent.downloader import Downloader
from edgesync.agent.gate import Deed, Gate, What
from edgesync.agent.ledger import Ledger
from edgesync.agent.staging import Staging
from edgesync.host.clock import SystemClock, TrustedTime
from edgesync.host.tcp import Carried
from edgesync.wire import blob as layout
from edgesync.wire import topics
from edgesync.wire.blob import BlobIndex
from edgesync.wire.errors import BudgetSpentError, EdgesyncError, InhibitedError
from edgesync.wire.messages import Manners, Source, Traffic

PIECE = layout.PIECE
DATA = random.Random(3).randbytes(5 * PIECE + 100)
INDEX, MESSAGES = blob_of(DATA)
LIMIT = 20.0


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name, seconds in ((fetch, "SILENCE_MIN", 0.1), (module, "TICK", 0.02), (module, "HTTP_FIRST", 0.1)):
        monkeypatch.setattr(where, name, seconds)


class PlayedLink:
    """A `MqttLink` as far as a downloader knows one."""

    def __init__(self, messages: dict[str, bytes]) -> None:
        self.link = Link(dict(messages))
        self.carried, self.answered = Carried(), True

    def subscribe(self, *filters: str) -> None:
        self.link.subscribe(filters)

    def unsubscribe(self, *filters: str) -> None:
        self.link.unsubscribe(filters)


class PlayedObstacle:
    """Says "not now" as long as `error` is set."""

    def __init__(self) -> None:
        self.error: EdgesyncError | None = None

    async def refusal(self, deed: Deed) -> EdgesyncError | None:
        return self.error

    def gone(self) -> bool:
        return self.error is None


class Bench:
    """A downloader on the directory `state`, connected, with everything that it told."""

    def __init__(
        self,
        state: Path,
        messages: dict[str, bytes] = MESSAGES,
        *,
        http: int = 0,
        index: BlobIndex = INDEX,
        what: What = "firmware",
    ) -> None:
        self.played = PlayedLink(messages)
        self.events: list[events.Event] = []
        self.ledger, self.staging = Ledger(str(state)), Staging(str(state))
        self.path = state / "blobs" / f"{index.blob}.part"
        url = f"http://127.0.0.1:{http}/blobs" if http else ""
        self.source = Source("full", index.blob, index.length, None, url)
        self.obstacle = PlayedObstacle()
        clock = SystemClock()
        self.gate = Gate(str(state), [self.obstacle], ledger=self.ledger, clock=clock, time=TrustedTime(clock))
        self.downloader = Downloader(
            ROOT,
            self.played,  # type: ignore[arg-type]
            what=what,
            staging=self.staging,
            ledger=self.ledger,
            gate=self.gate,
            clock=clock,
            emit=self.events.append,
        )
        self.downloader.link_up()

    def arrive(self, count: int = 1 << 30) -> None:
        """So many of the messages that are on their way arrive."""
        queue = self.played.link.queue
        while queue and count:
            topic, payload = queue.popleft()
            count -= 1
            self.downloader.received(topics.parse(topic), payload)

    async def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, f"not within {LIMIT} s; told {self.events}"
            await asyncio.sleep(0.005)

    async def finish(self) -> None:
        while not self.told(events.Fetched):
            self.arrive()
            await asyncio.sleep(0.005)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def begin(self) -> None:
        self.downloader.start(self.source)
        await self.until(lambda: self.played.link.filters or self.events)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), LIMIT)

    asyncio.run(limited())


def test_a_lone_blob_is_kept_and_found_again_and_counted_once(tmp_path: Path) -> None:
    index, messages = blob_of(DATA[:500])

    async def scenario() -> None:
        first = Bench(tmp_path, messages, index=index)
        await first.begin()
        await first.finish()
        assert first.path.read_bytes() == DATA[:500]
        assert (first.ledger.traffic.blob, first.ledger.traffic.refetched, first.ledger.traffic.metadata) == (500, 0, 0)
        second = Bench(tmp_path, {}, index=index)
        second.downloader.start(second.source)
        await second.until(lambda: second.told(events.Fetched))
        assert second.played.link.filters == []

    play(scenario)


# --- manners --------------------------------------------------------------------------------------------------------


def test_a_fetch_that_is_put_off_asks_the_broker_for_nothing_and_goes_on_by_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.obstacle.error = InhibitedError("/run/busy is there")
        bench.downloader.start(bench.source)
        await bench.until(lambda: bench.told(events.PutOff))
        bench.downloader.link_down()
        bench.downloader.link_up()
        await asyncio.sleep(0.1)
        assert bench.played.link.asked == 0
        bench.obstacle.error = None
        await bench.finish()
        assert [type(event) for event in bench.events] == [events.PutOff, events.LetThrough, events.Fetched]

    play(scenario)


def test_a_blob_that_is_there_already_needs_no_leave(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Bench(tmp_path)
        await first.begin()
        await first.finish()
        second = Bench(tmp_path)
        second.obstacle.error = InhibitedError("x")
        second.downloader.start(second.source)
        await second.until(lambda: second.told(events.Fetched))
        assert not second.told(events.PutOff)

    play(scenario)


def test_a_stop_ends_the_wait_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.obstacle.error = InhibitedError("x")
        bench.downloader.start(bench.source)
        await bench.until(lambda: bench.told(events.PutOff))
        bench.downloader.stop()
        bench.obstacle.error = None
        await asyncio.sleep(0.1)
        assert not bench.told(events.LetThrough)
        assert bench.played.link.asked == 0

    play(scenario)


def test_a_fetch_stops_between_pieces_where_the_budget_ends_and_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    budget = 200_000

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.gate.follow(Manners(budget=budget))
        await bench.begin()
        bench.arrive(4)
        # Something else has spent the month meanwhile.
        bench.played.carried = Carried(total=int(0.9 * budget) - 1000)
        while not bench.told(events.PutOff):
            bench.arrive()
            await asyncio.sleep(0.005)
        (put_off,) = bench.told(events.PutOff)
        assert isinstance(put_off.error, BudgetSpentError)
        done = bench.ledger.traffic.blob
        assert 0 < done <= 4 * PIECE, "what was asked for may come"
        bench.gate.follow(Manners(budget=10 * budget))
        await bench.finish()
        assert bench.told(events.LetThrough)
        assert (bench.ledger.traffic.blob, bench.ledger.traffic.refetched) == (len(DATA), 0)

    play(scenario)


def test_what_comes_for_config_is_on_no_rollouts_bill(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, what="config")
        await bench.begin()
        await bench.finish()
        assert bench.ledger.traffic == Traffic()
        assert bench.ledger.month.config >= len(DATA)

    play(scenario)


def test_a_blob_is_told_once_however_often_the_link_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.begin()
        await bench.finish()
        for _ in range(3):
            bench.downloader.link_down()
            bench.downloader.link_up()
            await asyncio.sleep(3 * module.TICK)
        assert bench.events == [events.Fetched(INDEX.blob)]
        assert bench.path.read_bytes() == DATA
        assert bench.played.link.filters == []

    play(scenario)


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_a_blob_that_is_there_is_told_again_to_whoever_asks_again(
    tmp_path: Path, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(module, "TICK", 0.02 if pause else LIMIT)  # long: the fetch has not looked since the end
        bench = Bench(tmp_path)
        await bench.begin()
        await bench.finish()
        await asyncio.sleep(pause)
        bench.downloader.start(bench.source)
        await bench.until(lambda: len(bench.told(events.Fetched)) == 2)
        assert bench.ledger.traffic.blob == len(DATA)

    play(scenario)


def test_the_same_blob_wanted_again_in_the_middle_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.begin()
        bench.arrive(4)
        bench.downloader.start(bench.source)
        await bench.finish()
        assert bench.ledger.traffic.refetched == 0

    play(scenario)


def test_another_blob_wanted_in_the_middle_stops_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        other, messages = blob_of(b"other" * 1000)
        bench = Bench(tmp_path, MESSAGES | messages)
        await bench.begin()
        bench.arrive(3)
        bench.source = Source("full", other.blob, other.length)
        bench.downloader.start(bench.source)
        await bench.finish()
        assert bench.events == [events.Fetched(other.blob)]
        assert bench.played.link.filters == []
        assert bench.ledger.traffic.refetched > 0  # what was on its way, and what came of an open piece

    play(scenario)


def test_a_kill_costs_the_open_pieces_and_the_ledger_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Bench(tmp_path)
        await first.begin()
        first.arrive(5)  # index, leaf, a piece, and half of another
        second = Bench(tmp_path)
        await second.begin()
        await second.finish()
        assert second.path.read_bytes() == DATA
        traffic = second.ledger.traffic
        assert traffic.blob == len(DATA)
        assert traffic.refetched == layout.BLOCK
        assert traffic.metadata == sum(len(p) for t, p in MESSAGES.items() if "/index" in t)

    play(scenario)


def test_a_new_rollout_in_the_middle_of_a_piece_never_makes_a_count_negative(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.ledger.begin("one")
        await bench.begin()
        bench.arrive(3)
        bench.ledger.begin("two")
        await bench.finish()
        assert min(bench.ledger.traffic.to_dict().values()) >= 0

    play(scenario)


def test_a_disk_that_fails_ends_the_fetch_by_name_and_the_next_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.begin()
        bench.arrive(4)
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", failing)
            bench.arrive()
        (failed,) = bench.told(events.FetchFailed)
        assert failed.error.name == "Storage"
        assert bench.played.link.filters == []
        await bench.begin()
        await bench.finish()
        assert bench.path.read_bytes() == DATA

    def failing(*_: object) -> int:
        raise OSError(5, "Input/output error")

    play(scenario)


def test_a_blob_that_is_cleared_ends_the_fetch_by_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.begin()
        bench.arrive(4)
        bench.played.link.publish(dict.fromkeys(MESSAGES, b""))
        bench.arrive()
        (failed,) = bench.told(events.FetchFailed)
        assert failed.error.name == "BlobWithdrawn"

    play(scenario)


# --- the last resort -----------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves a directory with Range, as any static server does. `asked` are the paths and ranges of the requests."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(directory)))


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        path = Path(self.directory) / self.path.lstrip("/")
        if not path.exists():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            data, status = data[int(first) : int(last) + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """The test's output is not an access log."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "www"
    (directory / "blobs").mkdir(parents=True)
    (directory / "blobs" / INDEX.blob).write_bytes(DATA)
    stored = b"".join(MESSAGES[t] for t in (topics.index(ROOT, INDEX.blob), topics.leaf(ROOT, INDEX.blob, 0)))
    (directory / "blobs" / f"{INDEX.blob}.index").write_bytes(stored)
    with Server(directory) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5)


def stored(server_root: Path, suffix: str = "") -> Path:
    return server_root / "www" / "blobs" / f"{INDEX.blob}{suffix}"


def test_a_blob_that_the_broker_never_gives_comes_from_the_url(tmp_path: Path, server: Server) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, {}, http=server.server_port)
        await bench.begin()
        await bench.until(lambda: bench.told(events.Fetched))
        assert [type(event).__name__ for event in bench.events] == ["FetchStarved", "FetchFlows", "Fetched"]
        assert bench.path.read_bytes() == DATA
        assert bench.ledger.traffic.refetched == 0
        assert len(server.asked) == 1 + INDEX.pieces

    play(scenario)


def test_what_comes_from_the_url_is_counted_with_its_headers_also_at_a_slower_pace(
    tmp_path: Path, server: Server
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, {}, http=server.server_port)
        bench.gate.follow(Manners(rate=4 * PIECE, share=50))
        await bench.begin()
        await bench.until(lambda: bench.told(events.Fetched))
        assert bench.path.read_bytes() == DATA
        assert len(DATA) < bench.ledger.month.total < 1.2 * len(DATA)

    play(scenario)


def test_a_budget_that_ends_while_the_url_gives_is_waited_for_as_well(tmp_path: Path, server: Server) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, {}, http=server.server_port)
        bench.gate.follow(Manners(budget=200_000, rate=4 * PIECE))
        await bench.begin()
        await bench.until(lambda: server.asked)
        bench.played.carried = Carried(total=200_000)
        await bench.until(lambda: bench.told(events.PutOff))
        done = bench.downloader.done
        assert done < len(DATA)
        bench.gate.follow(Manners(budget=2_000_000))
        await bench.until(lambda: bench.told(events.Fetched))
        assert bench.path.read_bytes() == DATA
        assert bench.told(events.LetThrough)

    play(scenario)


def test_only_what_the_broker_does_not_give_comes_from_the_url(tmp_path: Path, server: Server) -> None:
    async def scenario() -> None:
        hole = {topics.block(ROOT, INDEX.blob, n, 0) for n in (1, 3)}
        bench = Bench(tmp_path, {t: p for t, p in MESSAGES.items() if t not in hole}, http=server.server_port)
        await bench.begin()
        await bench.finish()
        assert bench.path.read_bytes() == DATA
        ranges = [wanted for _, wanted in server.asked]
        # Two holes fill the window, so what lies behind them comes from the URL as well; what is there does not.
        assert f"bytes=0-{PIECE - 1}" not in ranges
        assert bench.ledger.traffic.refetched <= 2 * PIECE

    play(scenario)


def test_a_broker_that_gives_again_shares_the_work_with_the_url(tmp_path: Path, server: Server) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, {}, http=server.server_port)
        await bench.begin()
        await bench.until(lambda: bench.downloader.done)
        bench.played.link.publish(MESSAGES)
        await bench.finish()
        assert bench.path.read_bytes() == DATA
        asked = len(server.asked)
        await asyncio.sleep(0.1)
        assert len(server.asked) <= asked + 1, "what the broker gave is asked for no more"
        assert bench.ledger.traffic.refetched <= 3 * PIECE

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (lambda root: stored(root, ".index").write_bytes(INDEX.encode()), "BlobCorrupt"),
        (lambda root: stored(root, ".index").write_bytes(b"rubbish"), "BlobCorrupt"),
        (lambda root: stored(root, ".index").unlink(), "BlobMissing"),
        (lambda root: stored(root).unlink(), "BlobMissing"),
        (lambda root: stored(root).write_bytes(DATA[:100]), "Link"),
        (lambda root: stored(root).write_bytes(bytes(len(DATA))), "BlobCorrupt"),
    ],
)
def test_a_url_with_something_else_is_told_and_asked_again_until_it_is_right(
    tmp_path: Path, server: Server, fault: Callable[[Path], object], name: str
) -> None:
    async def scenario() -> None:
        right = {suffix: stored(tmp_path, suffix).read_bytes() for suffix in ("", ".index")}
        fault(tmp_path)
        bench = Bench(tmp_path, {}, http=server.server_port)
        await bench.begin()
        await bench.until(lambda: name in [event.error.name for event in bench.told(events.Noticed)])
        await asyncio.sleep(0.05)
        held = sum(len(b) for p in bench.downloader._fetch._flight.values() for b in p.blocks.values())  # type: ignore[union-attr]
        assert held <= fetch.WINDOW * PIECE
        for suffix, data in right.items():
            stored(tmp_path, suffix).write_bytes(data)
        await bench.until(lambda: bench.told(events.Fetched))
        assert bench.path.read_bytes() == DATA

    play(scenario)


def test_a_url_that_hangs_does_not_hold_up_the_end_of_the_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, {}, http=silent.getsockname()[1])
        await bench.begin()
        connection, _ = await asyncio.to_thread(silent.accept)
        connections.callback(connection.close)
        bench.downloader.stop()

    with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.ExitStack() as connections:
        began = time.monotonic()
        play(scenario)
        assert time.monotonic() - began < 5
