"""Config from a commit to the boards that hold it, with real git, mosquitto, signatures and SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from serverlab import Boards, Lab, open_broker, serving, statuses, until

from edgesync.control.service import Service
from edgesync.wire.bundle import decode
from edgesync.wire.ids import DeviceId

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
