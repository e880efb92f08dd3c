"""A real agent on a link that is cut, stalls and starves: the broker is silent, empty, withdrawn, or never had it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hurried import SILENCE
from rig import FLEET, behind, carried, firmware, link

from edgesync.wire import topics
from edgesync.wire.blob import BLOCK, PIECE
from edgesync.wire.ids import BlobId
from edgesync.wire.messages import Phase, Reported

pytestmark = pytest.mark.broker

OLD = firmware(256 << 10, 1)
NEW = firmware(256 << 10, 2)
SMALL = firmware(48 << 10, 3)


def stands(report: Reported, error: str, blob: BlobId) -> bool:
    """Whether a board waits for this blob and says why."""
    named = report.error is not None and report.error.name == error
    return named and report.phase is Phase.WAITING and report.missing == (blob,)


def test_a_link_that_is_cut_before_one_piece_is_through_still_finishes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(64e3), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(SMALL)
            before = proxy.counters()
            await rig.offer(SMALL, source)
            await rig.logged("fetch blob=")
            cuts = 0
            while "apply component=" not in rig.log():
                assert cuts < 15, f"no progress\n{rig.log()[-4000:]}"
                logged = len(rig.log())
                proxy.reset_all()
                cuts += 1
                await rig.logged("connected to", since=logged)
                await asyncio.sleep(1.9)  # a piece takes 2.05 s
            carried = proxy.counters().down - before.down
            last = await rig.confirmed(SMALL)
            assert cuts >= 4
            assert (last.traffic.blob, last.traffic.refetched) == (source.length, 0), "no block comes twice"
            assert carried <= 1.1 * source.length + cuts * (BLOCK + 2048), "a cut costs the block that it hit"

    asyncio.run(scenario())


def test_a_broker_that_comes_back_empty_is_told_what_is_missing_and_gives_only_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(1e6), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            before = proxy.counters().down
            await rig.offer(NEW, source)
            await carried(proxy, before + source.length // 2)
            await rig.lose_store()
            told = await rig.reported(lambda r: stands(r, "BlobMissing", source.blob))
            assert told.done > 0, "what was verified stays"
            assert proxy.counters().down - before < source.length, "it did not come from anywhere else"
            await rig.publish(source.blob)
            last = await rig.confirmed(NEW)
            assert last.traffic.blob == source.length
            assert last.traffic.refetched <= 2 * PIECE

    asyncio.run(scenario())


def test_a_hole_in_a_blob_is_named_with_its_piece_and_filled_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(NEW)
            hole = topics.block(topics.firmware(FLEET), source.blob, 5, 1)
            await rig.publish(source.blob, without=lambda topic: topic == hole)
            await rig.want(rig.desired(NEW, source))
            told = await rig.reported(lambda r: stands(r, "BlobMissing", source.blob))
            assert told.error
            assert re.search(r"\b5\b", told.error.detail), told.error.detail
            assert told.done >= source.length - 2 * PIECE, "all the rest came"
            await rig.say({hole: rig.messages(source.blob)[hole]})
            last = await rig.confirmed(NEW)
            # Each time that it asked for the piece, the block beside the hole came again.
            assert last.traffic.refetched <= 4 * BLOCK

    asyncio.run(scenario())


def test_a_stall_of_the_link_costs_time_and_nothing_is_called_missing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(1e6), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            before = proxy.counters().down
            await rig.offer(NEW, source)
            await carried(proxy, before + source.length // 2)
            proxy.stall()
            await asyncio.sleep(6 * SILENCE)
            proxy.resume()
            last = await rig.confirmed(NEW)
            assert not any(r.error for r in rig.reports)
            assert last.traffic.refetched <= 2 * PIECE

    asyncio.run(scenario())


def test_a_connection_that_dies_without_a_word_is_noticed_and_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(1e6), tmp_path, keepalive=5) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            before = proxy.counters().down
            await rig.offer(NEW, source)
            await carried(proxy, before + source.length // 2)
            proxy.unplug()
            await rig.logged("not connected")
            proxy.plug()
            last = await rig.confirmed(NEW)
            assert last.traffic.refetched <= 2 * PIECE

    asyncio.run(scenario())


def test_a_blob_that_is_withdrawn_under_a_board_is_waited_for_and_fetched_when_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(512e3), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            before = proxy.counters().down
            await rig.offer(NEW, source)
            await carried(proxy, before + source.length // 3)
            await rig.withdraw(source.blob)
            told = await rig.reported(lambda r: r.error is not None and r.error.name == "BlobWithdrawn")
            assert told.phase is Phase.WAITING
            await rig.publish(source.blob)
            last = await rig.confirmed(NEW)
            assert last.traffic.refetched <= 2 * PIECE

    asyncio.run(scenario())


def test_a_blob_that_was_never_on_the_broker_comes_from_the_http_source_that_was_signed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(NEW)
            with web(tmp_path / "blobs") as (url, asked):
                await rig.want(rig.desired(NEW, replace(source, url=url)))
                last = await rig.confirmed(NEW)
            assert any(stands(r, "BlobMissing", source.blob) for r in rig.reports), "the broker was asked first"
            assert (last.traffic.blob, last.traffic.refetched) == (source.length, 0)
            pieces = [path for path in asked if not path.endswith(".index")]
            assert len(pieces) == -(-source.length // PIECE), "each piece once"

    asyncio.run(scenario())


@contextmanager
def web(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """A static server that knows ranges: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = (directory / Path(self.path).name).read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted:
                data = data[int(wanted[1]) : int(wanted[2]) + 1]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
