"""Config from a commit to the boards that hold it, with real git, mosquitto, signatures and SQL."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from serverlab import FLEET, Boards, Lab, open_broker, serving, statuses, until

from edgesync.cli.client import Client
from edgesync.control import driver
from edgesync.control.service import Service
from edgesync.control.signing import Signing
from edgesync.wire import topics
from edgesync.wire.bundle import decode
from edgesync.wire.errors import NotReachableError, StorageError
from edgesync.wire.ids import BlobId, DeviceId
from edgesync.wire.messages import ErrorReport

pytestmark = pytest.mark.broker


def run(flow: Coroutine[Any, Any, None], seconds: float = 90) -> None:
    asyncio.run(asyncio.wait_for(flow, seconds))


@asynccontextmanager
async def configured(place: Path, count: int) -> AsyncIterator[tuple[Lab, Boards, Service]]:
    """A fleet on one release and a first config, all confirmed."""
    with open_broker(place / "broker") as broker:
        lab = Lab(place, count, broker.port)
        base = lab.release("v1", b"image")
        lab.config_files({"app/a.conf": "one\n"}, message="First config")
        async with Boards(lab, base).connected() as boards, serving(lab) as service:
            await boards.report_all()
            await done(service, "First config")
            yield lab, boards, service


async def done(service: Service, subject: str, expected: str = "confirmed") -> None:
    """Until every board stands so with this commit, and the broker is in order."""
    await until(
        lambda: (
            service._driver.state.subject == subject
            and set(statuses(service)) == {expected}
            and service.status()["publisher"]["idle"]
        )
    )


def text(boards: Boards, device: DeviceId, path: str = "app/a.conf") -> str:
    """What a board's applications read."""
    bundle = boards.played[device].bundle
    return decode(bundle).files[path].data.decode() if bundle else ""


def test_a_changed_line_reaches_every_board_and_is_confirmed(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 3) as (lab, boards, service):
            assert {text(boards, device) for device in lab.devices} == {"one\n"}
            assert boards.config_sources == {"full": 3}
            boards.config_messages.clear()
            boards.config_sources.clear()
            lab.config_files({"app/a.conf": "two\n"}, message="Say two")
            await done(service, "Say two")
            assert {text(boards, device) for device in lab.devices} == {"two\n"}
            assert set(boards.config_messages.values()) == {1}
            assert len(boards.config_messages) == 3
            assert boards.config_sources == {"delta": 3}
            assert not boards.blob_messages

    run(flow())


def test_every_board_gets_its_own_config_and_no_other(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 3) as (lab, boards, service):
            lab.config_files({"app/a.conf.j2": "{{ board }} of {{ fleet }}\n"}, message="Own names")
            await done(service, "Own names")
            assert [text(boards, device) for device in lab.devices] == [f"b{n:04} of demo\n" for n in range(3)]

    run(flow())


def test_a_failed_probe_is_quarantined_told_and_undone_by_the_next_commit(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 3) as (lab, boards, service):
            first = service._driver.state.revision
            for device in lab.devices:
                boards.config_outcome[device] = ErrorReport("ProbeFailed", "ping: exit status 1")
            lab.config_files({"app/a.conf": "bad\n"}, message="Break it")
            await until(lambda: service.status()["rollout"]["phase"] == "aborted")
            status = service.status()
            assert {text(boards, device) for device in lab.devices} == {"one\n"}
            assert (status["sync"], status["health"]) == ("OutOfSync", "Degraded")
            assert len(status["quarantine"]) == 1
            # Who was fast enough to fail before the abort stopped the rest.
            failed = next(board["device"] for board in status["boards"] if board["status"] == "failed")
            await service._driver.settled()  # what is decided is seen at once, and history when it is saved
            history = await service.history(failed, 100)
            (why,) = [entry for entry in history if entry["event"] == "failed" and entry["device"] == failed]
            assert why["detail"] == "ProbeFailed: ping: exit status 1"
            assert (why["author"], why["revision"]) == ("Ada <ada@example.com>", status["rollout"]["revision"])
            boards.config_outcome.clear()
            # What was in force before is offered although it was superseded; what failed is not, whatever names it.
            lab.config_files({"app/a.conf": "one\n"}, message="Take it back")
            await done(service, "Take it back")
            lab.config_files({"app/a.conf": "bad\n"}, message="Break it again")
            await done(service, "Break it again", "failed")
            errors = {board["error"]["name"] for board in service.status()["boards"]}
            assert errors == {"Quarantined"}
            assert {text(boards, device) for device in lab.devices} == {"one\n"}
            assert first != service._driver.state.revision

    run(flow())


def test_two_pushes_at_once_and_a_push_back_leave_every_board_on_the_last(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 3) as (lab, boards, service):
            lab.config_files({"app/a.conf": "two\n"}, message="Two")
            lab.config_files({"app/a.conf": "three\n"}, message="Three")
            await done(service, "Three")
            assert {text(boards, device) for device in lab.devices} == {"three\n"}
            lab._git("reset", "-q", "--hard", "HEAD~2")
            await done(service, "First config")
            assert {text(boards, device) for device in lab.devices} == {"one\n"}

    run(flow())


def test_a_server_that_dies_between_deciding_and_signing_signs_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flow() -> None:
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", b"image")
            lab.config_files({"app/a.conf": "one\n"}, message="First config")
            async with Boards(lab, base).connected() as boards:
                async with serving(lab) as service:
                    await boards.report_all()
                    await done(service, "First config")
                    with monkeypatch.context() as dead:
                        dead.setattr(Signing, "_publish", lambda *_: asyncio.sleep(3600))
                        lab.config_files({"app/a.conf": "two\n"}, message="Two")
                        await until(lambda: statuses(service) == {"offered": 2})
                    before = boards.desired_messages.total()
                assert {text(boards, device) for device in lab.devices} == {"one\n"}
                async with serving(lab) as service:
                    await done(service, "Two")
                assert {text(boards, device) for device in lab.devices} == {"two\n"}
                assert boards.desired_messages.total() == before + 2
                assert boards.config_sources["delta"] == 2

    run(flow())


def test_what_was_signed_is_published_as_it_was_after_a_restart_with_a_broker_that_lost_it(tmp_path: Path) -> None:
    async def flow() -> None:
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", b"image")
            lab.config_files({"app/a.conf": "one\n"}, message="First config")
            async with Boards(lab, base).connected() as boards:
                boards.config_busy = set(lab.devices)
                async with serving(lab) as service:
                    await boards.report_all()
                    await until(lambda: statuses(service) == {"acting": 2} and service.status()["publisher"]["idle"])
                    await until(lambda: len([t for t, p in boards.store.items() if "/c/" in t and p]) == 2)
                before = {topic: payload for topic, payload in boards.store.items() if payload}
                await asyncio.to_thread(lambda: broker.restart(empty=True))
                boards.store.clear()
                async with serving(lab):
                    await until(lambda: boards.store == before)

    run(flow())


def test_a_database_that_fails_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "SAVE_AGAIN_AFTER", 0.1)

    async def flow() -> None:
        async with configured(tmp_path, 3) as (lab, boards, service):
            real, failures = service._store.save_signed, [0]

            def failing(signed: Any) -> None:
                failures[0] += 1
                if failures[0] < 5:
                    raise StorageError("database: disk full")
                real(signed)

            monkeypatch.setattr(service._store, "save_signed", failing)
            lab.config_files({"app/a.conf": "two\n"}, message="Two")
            await until(lambda: failures[0] == 3)
            assert {text(boards, device) for device in lab.devices} == {"one\n"}
            await done(service, "Two")
            assert {text(boards, device) for device in lab.devices} == {"two\n"}

    run(flow())


def test_foreign_and_wrong_blobs_of_config_are_put_right_and_old_ones_withdrawn(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 2) as (lab, boards, service):
            old = {topic for topic in boards.config_messages if boards.store[topic]}
            lab.config_files({"app/a.conf": "two\n"}, message="Two")
            await done(service, "Two")
            await until(lambda: not any(boards.store[topic] for topic in old))
            good = {topic: payload for topic, payload in boards.store.items() if payload}
            (index, *_) = (topic for topic in good if "/c/" in topic)
            foreign = topics.index(topics.config(FLEET, lab.devices[0]), BlobId("f" * 32))
            for topic in (index, foreign):
                await boards.link.deliver(topic, b"rubbish")
            await until(lambda: list(boards.store.values()).count(b"rubbish") == 2)
            service._publisher.down()
            service._publisher.up()
            await until(lambda: {t: p for t, p in boards.store.items() if p} == good)

    run(flow())


@pytest.mark.parametrize("name", ["BaseModified", "DeltaCorrupt"])
def test_a_board_on_which_a_delta_does_not_work_gets_the_whole_bundle(tmp_path: Path, name: str) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 2) as (lab, boards, service):
            bad, _ = lab.devices
            boards.config_outcome[bad] = ErrorReport(name)
            boards.config_sources.clear()
            lab.config_files({"app/a.conf": "two\n"}, message="Two")
            await until(lambda: boards.config_sources["full"] == 1)
            boards.config_outcome.clear()
            await boards.obey_again(bad)
            await done(service, "Two")
            assert boards.config_sources["delta"] == 2
            assert text(boards, bad) == "two\n"

    run(flow())


def test_config_of_many_blocks_goes_in_pieces_and_comes_back_after_a_broker_s_loss(tmp_path: Path) -> None:
    async def flow() -> None:
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", b"image")
            big = random.Random(1).randbytes(60_000).hex()
            lab.config_files({"app/a.conf": big}, message="Big")
            async with Boards(lab, base).connected() as boards, serving(lab) as service:
                await boards.report_all()
                await done(service, "Big")
                assert text(boards, lab.devices[1]) == big
                kinds = {topics.parse(topic).kind for topic in boards.config_messages}
                assert kinds == {"index", "leaf", "block"}
                before = {topic: payload for topic, payload in boards.store.items() if payload}
                await asyncio.to_thread(lambda: broker.restart(empty=True))
                boards.store.clear()
                await until(lambda: boards.store == before)

    run(flow())


def test_a_server_that_lost_its_state_sends_whole_bundles_to_boards_that_hold_something_else(tmp_path: Path) -> None:
    async def flow() -> None:
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 2, broker.port)
            base = lab.release("v1", b"image")
            lab.config_files({"app/a.conf": "one\n"}, message="First config")
            async with Boards(lab, base).connected() as boards:
                async with serving(lab) as service:
                    await boards.report_all()
                    await done(service, "First config")
                shutil.rmtree(lab.place / "state")
                boards.config_sources.clear()
                lab.config_files({"app/a.conf": "two\n"}, message="Two")
                async with serving(lab) as service:
                    await done(service, "Two")
                assert boards.config_sources == {"full": 2}
                assert {text(boards, device) for device in lab.devices} == {"two\n"}

    run(flow())


def test_a_board_that_only_reports_drift_is_out_of_sync_and_not_failed(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 2) as (lab, boards, service):
            drifted, other = lab.devices
            boards.played[drifted].drift = 2
            await boards.report(drifted)
            await until(lambda: service.status()["boards"][0]["sync"] == "OutOfSync")
            brief = {board["device"]: board for board in service.status()["boards"]}
            assert (brief[drifted]["status"], brief[drifted]["health"]) == ("confirmed", "Healthy")
            assert brief[drifted]["config"]["drift"] == 2
            assert brief[other]["sync"] == "Synced"
            boards.played[drifted].drift = 0
            await boards.report(drifted)
            await until(lambda: service.status()["sync"] == "Synced")
            events: list[str] = []
            while len(events) < 2:  # it is written down after it is in force
                events = [e["detail"] for e in await service.history(drifted, 100) if e["event"] == "drift"]
            assert events == ["2 files of its config are not as git has them", "its config is as git has it again"]

    run(flow())


def test_the_commit_says_where_its_rollout_stands(tmp_path: Path) -> None:
    async def flow() -> None:
        async with configured(tmp_path, 2) as (lab, _boards, service):
            lab.config_files({"app/a.conf": "two\n"}, message="Two")
            await done(service, "Two")
            await until(lambda: '"done"' in noted(lab))
            assert json.loads(noted(lab))["counts"] == {"confirmed": 2}

    def noted(lab: Lab) -> str:
        shown = ["git", "-C", str(lab.fleet), "notes", "--ref=edgesync", "show", "HEAD"]
        return subprocess.run(shown, capture_output=True, text=True, timeout=30, check=False).stdout

    run(flow())


def test_kill_dash_nine_while_config_goes_out_leaves_every_board_on_the_last_commit(tmp_path: Path) -> None:
    """The real command is killed again and again; each time a line changes."""

    def start(lab: Lab) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edgesync.cli.main", "serve", "--config", str(lab.file)]
        with (lab.place / "serve.log").open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out)

    async def rollout(lab: Lab) -> dict[str, Any]:
        try:
            status = await asyncio.to_thread(Client(lab.config().socket).get, "/v1/status")
        except NotReachableError:
            return {}
        idle = status["publisher"]["idle"]
        return {**status["rollout"], "statuses": {board["status"] for board in status["boards"]} if idle else set()}

    async def flow() -> None:
        with open_broker(tmp_path / "broker") as broker:
            lab = Lab(tmp_path, 6, broker.port, canaries=1)
            base = lab.release("v1", b"image")
            async with Boards(lab, base).connected() as boards:
                await boards.report_all()
                server = start(lab)
                try:
                    for number, pause in enumerate((2.5, 3.0, 3.5, 4.0)):
                        lab.config_files({"app/a.conf": f"line {number}\n"}, message=f"Line {number}")
                        await asyncio.sleep(pause)
                        server.kill()
                        server.wait()
                        server = start(lab)
                    while True:
                        now = await rollout(lab)
                        if (
                            now.get("subject") == "Line 3"
                            and now["phase"] == "done"
                            and now["statuses"] == {"confirmed"}
                        ):
                            break
                        await asyncio.sleep(0.2)
                    assert {text(boards, device) for device in lab.devices} == {"line 3\n"}
                finally:
                    server.kill()
                    server.wait()

    run(flow(), 120)
