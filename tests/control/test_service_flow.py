"""The server from commit to confirmed, with real git, mosquitto, deltas, signatures and SQL."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import serverlab
from serverlab import FLEET, Boards, Lab, open_broker, serving, statuses, until

from edgesync.cli.client import Client
from edgesync.wire import codec, topics
from edgesync.wire.blob import BLOCK, LONE
from edgesync.wire.ids import device_id
from edgesync.wire.messages import ErrorReport

pytestmark = pytest.mark.broker


def run(flow: Coroutine[Any, Any, None], seconds: float = 90) -> None:
    asyncio.run(asyncio.wait_for(flow, seconds))


async def first_release(lab: Lab, image: bytes, boards: Boards, service: Any) -> None:
    await boards.report_all()
    await until(lambda: statuses(service) == {"confirmed": len(lab.devices)})
    await until(lambda: service.status()["publisher"]["idle"] and len(boards.desired_messages) == len(lab.devices))


async def confirmed(service: Any, subject: str) -> None:
    """Until every board has confirmed this commit, and the broker is in order."""

    def done() -> bool:
        named = service._driver.state.subject == subject
        return named and set(statuses(service)) == {"confirmed"} and service.status()["publisher"]["idle"]

    await until(done, 60)


@pytest.mark.parametrize("count", [12, 1200])
def test_many_boards_on_one_base_cost_one_blob_and_one_desired_each(tmp_path: Path, count: int) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, count, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                boards.desired_messages.clear()
                lab.release("v2", two)
                await confirmed(service, "Ship v2")
                await until(lambda: len(boards.desired_messages) == count)
                assert set(boards.desired_messages.values()) == {1}
                assert set(boards.blob_messages.values()) == {1}
                status = service.status()
                assert status["publisher"]["blobs_published"] == 1
                indexes = [topic for topic in boards.blob_messages if topic.endswith("/index")]
                length = status["boards"][0]["total"]
                assert len(indexes) == 1
                assert len(boards.blob_messages) == (1 if length <= LONE else 1 + 1 + -(-length // BLOCK))
                assert status["rollout"]["phase"] == "done"

    run(flow(), 150)


def test_a_canary_that_fails_keeps_the_rest_as_they_are_until_retry(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 4, broker.port, canaries=1)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                canary = lab.devices[0]
                boards.outcome[canary] = ErrorReport("BootFailed", "tried b")
                lab.release("v2", two)
                await until(lambda: service.status()["rollout"]["phase"] == "aborted")
                assert statuses(service) == {"failed": 1, "waiting": 3}
                assert service.status()["boards"][0]["error"]["name"] == "BootFailed"
                assert all(boards.played[d].version == 1 for d in lab.devices[1:])
                client = Client(lab.config().socket)
                history = await asyncio.to_thread(client.get, f"/v1/history?board={canary}")
                events = [(e["device"], e["event"]) for e in history["entries"]]
                assert (canary, "failed") in events
                assert ("", "aborted") in events
                boards.outcome.clear()
                answer = await asyncio.to_thread(lambda: client.post("/v1/retry", all=True))
                assert answer["phase"] == "running"
                await confirmed(service, "Ship v2")
                assert boards.played[canary].desired["edgesync"]["retry"] > 0

    run(flow())


def test_pause_makes_ahead_and_offers_nothing_and_abort_holds_boards_in_mid_download(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 3, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                boards.busy = set(lab.devices)
                client = Client(lab.config().socket)
                await asyncio.to_thread(client.post, "/v1/pause")
                lab.release("v2", two)
                await until(lambda: service.status()["rollout"]["subject"] == "Ship v2")
                await until(lambda: service.status()["ahead"][0]["bytes"])
                (ahead,) = service.status()["ahead"]
                assert (ahead["boards"], ahead["error"], service.status()["builds"]) == (3, None, [])
                (blob,) = (await asyncio.to_thread(client.get, "/v1/blobs"))["blobs"]
                delta, mixed, full = (await asyncio.to_thread(client.get, f"/v1/boards/{lab.devices[0]}"))["ways"]
                assert (delta["chosen"], delta["bytes"], delta["base"]) == (True, blob["bytes"], blob["base"])
                assert not full["chosen"]
                assert (mixed["coder"], mixed["chosen"], mixed["bytes"]) == ("mixing", False, None)
                assert service.status()["publisher"]["blobs_published"] == 0
                assert {board.version for board in boards.played.values()} == {1}
                await asyncio.to_thread(client.post, "/v1/resume")
                await until(lambda: statuses(service) == {"acting": 3})
                await asyncio.to_thread(lambda: client.post("/v1/abort", reason="smoke"))
                await until(lambda: all(b.desired["edgesync"]["hold"] for b in boards.played.values()))
                assert boards.played[lab.devices[0]].desired["edgesync"]["hold"] == "aborted: smoke"
                assert statuses(service) == {"waiting": 3}

    run(flow())


def test_a_broker_that_comes_back_empty_in_mid_rollout_is_filled_again(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 3, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                boards.busy = set(lab.devices)
                lab.release("v2", two)
                await until(lambda: statuses(service) == {"acting": 3})
                before = {t: p for t, p in boards.store.items() if p}
                await asyncio.to_thread(lambda: broker.restart(empty=True))
                boards.store.clear()
                await until(lambda: boards.store == before)
                assert service.status()["publisher"]["blobs_published"] == 2

    run(flow())


def test_what_should_not_be_on_the_broker_is_withdrawn_and_what_is_wrong_is_put_right(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                boards.busy = set(lab.devices)
                lab.release("v2", two)
                await until(lambda: statuses(service) == {"acting": 2} and service.status()["publisher"]["idle"])
                good = {topic: payload for topic, payload in boards.store.items() if payload}
            async with Boards(lab, base).connected() as boards:
                index = next(topic for topic in good if topic.endswith("/index"))
                stranger = topics.desired(FLEET, device_id(FLEET, "stranger"))
                foreign = topics.index(topics.firmware(FLEET), "f" * 32)  # type: ignore[arg-type]
                old = topics.desired(FLEET, lab.devices[0])
                boards.silent = {*lab.devices, device_id(FLEET, "stranger")}
                for topic in (index, stranger, foreign, old):
                    await boards.link.deliver(topic, b"rubbish")
                await until(lambda: list(boards.store.values()).count(b"rubbish") == 4)
                async with serving(lab):
                    await until(lambda: {t: p for t, p in boards.store.items() if p} == good)

    run(flow())


def test_the_next_release_withdraws_the_blob_that_no_desired_names(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two, three = serverlab.images(3)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                lab.release("v2", two)
                await confirmed(service, "Ship v2")
                old = {topic for topic in boards.blob_messages if boards.store[topic]}
                lab.release("v3", three)
                await until(lambda: not any(boards.store[topic] for topic in old))
                withdrawn = [topic for topic, payload in boards.store.items() if topic in old and not payload]
                assert withdrawn
                await confirmed(service, "Ship v3")

    run(flow())


def test_forged_stale_and_broken_reports_change_nothing_and_are_told(tmp_path: Path) -> None:
    async def flow() -> None:
        one, _ = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 1, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                (device,) = lab.devices
                await until(lambda: service._driver.state.boards[device].reported.version == 1)
                before = (await service.board(device))["reported"]
                other = Lab(tmp_path / "other", 1, broker.port)
                forger = Boards(other, base)
                forger.link, forger.counter = boards.link, boards.counter + 100
                await forger.report(device)
                await until(
                    lambda: (
                        service.status()["refused"][0:] and service.status()["refused"][0]["name"] == "ForgedMessage"
                    )
                )
                boards.counter = 0
                await boards.report(device)
                await until(lambda: service.status()["refused"][0]["name"] == "StaleMessage")
                topic = topics.reported(FLEET, device)
                await boards.link.deliver(topic, b"\x00" * 100_000)
                await until(lambda: service.status()["refused"][0]["name"] == "MessageTooLarge")
                await boards.link.deliver(topic, codec.pack(b"[]"))
                await until(lambda: service.status()["refused"][0]["name"] == "MalformedMessage")
                assert service.status()["refused"][0]["count"] == 4
                assert (await service.board(device))["reported"] == before
                events = {e["event"] for e in await service.history(device, 100)}
                await service.pause()  # a batch is saved, and with it the notes
                events = {e["event"] for e in await service.history(device, 100)}
                assert {"ForgedMessage", "StaleMessage", "MessageTooLarge", "MalformedMessage"} <= events

    run(flow())


def test_a_broken_commit_keeps_the_last_good_revision_and_an_image_that_appears_heals_it(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards:
                async with serving(lab) as service:
                    await first_release(lab, one, boards, service)
                    good = service.status()["rollout"]["revision"]
                    lab.release("v2", two)
                    # The commit is there before the server looks, the image is not.
                    (lab.place / "images/v2.img").rename(lab.place / "v2.img")
                    await until(
                        lambda: "v2.img" in service.status()["problem"] or statuses(service) != {"confirmed": 2}
                    )
                    assert service.status()["rollout"]["revision"] == good
                async with serving(lab) as service:
                    await until(lambda: service.status()["problem"])
                    await until(lambda: service.status()["rollout"]["revision"] == good)
                    assert statuses(service) == {"confirmed": 2}
                    (lab.place / "v2.img").rename(lab.place / "images/v2.img")
                    service.wake()
                    await confirmed(service, "Ship v2")
                    assert not service.status()["problem"]

    run(flow())


def test_a_board_that_misses_a_blob_gets_it_published_again_and_a_rotten_one_is_made_anew(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 1, broker.port)
            base = lab.release("v1", one)
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await first_release(lab, one, boards, service)
                boards.busy = set(lab.devices)
                lab.release("v2", two)
                await until(lambda: statuses(service) == {"acting": 1} and service.status()["publisher"]["idle"])
                (device,) = lab.devices
                blob = (await service.board(device))["desired"]["targets"][0]["source"]["blob"]
                await asyncio.sleep(serverlab.PATIENCE.again)
                await boards.report(device, missing=(blob,))
                await until(lambda: service.status()["publisher"]["blobs_published"] == 2)
                file = lab.place / "state/blobs" / blob
                file.write_bytes(b"x" * file.stat().st_size)
                await asyncio.sleep(serverlab.PATIENCE.again)
                await boards.report(device, missing=(blob,))
                await until(lambda: service.status()["publisher"]["blobs_published"] == 3)
                assert file.read_bytes()[:1] != b"x"

    run(flow())


def test_a_server_restored_without_its_state_counts_above_what_boards_have_reported(tmp_path: Path) -> None:
    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 1, broker.port)
            base = lab.release("v1", one)
            (device,) = lab.devices
            async with Boards(lab, base).connected() as boards:
                boards.played[device].version = 41
                async with serving(lab) as service:
                    await first_release(lab, one, boards, service)
                    lab.release("v2", two)
                    await until(lambda: boards.played[device].version > 42 and statuses(service) == {"confirmed": 1})

    run(flow())


def test_kill_dash_nine_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """The real command is killed again and again while a rollout goes on; the boards end where git says."""

    def start(lab: Lab, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edgesync.cli.main", "serve", "--config", str(lab.file)]
        with log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out)

    async def answered(lab: Lab) -> dict[str, Any] | None:
        try:
            return await asyncio.to_thread(Client(lab.config().socket).get, "/v1/status")
        except Exception:  # noqa: BLE001 - not up yet
            return None

    async def flow() -> None:
        one, two = serverlab.images(2)
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 6, broker.port, canaries=1)
            base = lab.release("v1", one)
            log = tmp_path / "serve.log"
            async with Boards(lab, base).connected() as boards:
                await boards.report_all()
                server = start(lab, log)
                try:
                    while not (await answered(lab) or {}).get("boards"):
                        await asyncio.sleep(0.1)
                    digest = lab.release("v2", two)
                    for pause in (0.8, 1.6, 2.4):
                        await asyncio.sleep(pause)
                        server.kill()
                        server.wait()
                        server = start(lab, log)
                    while True:
                        status = await answered(lab)
                        if (
                            status
                            and {b["status"] for b in status["boards"]} == {"confirmed"}
                            and status["rollout"]["phase"] == "done"
                            and status["rollout"]["subject"] == "Ship v2"
                        ):
                            break
                        await asyncio.sleep(0.2)
                    assert {board.image for board in boards.played.values()} == {digest}
                    assert stat.S_IMODE(os.stat(lab.config().socket).st_mode) == 0o600
                    server.send_signal(signal.SIGTERM)
                    assert await asyncio.to_thread(server.wait, 10) == 0
                    assert not lab.config().socket.exists()
                finally:
                    server.kill()
                    server.wait()

    run(flow(), 120)
