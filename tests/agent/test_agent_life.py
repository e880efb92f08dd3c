"""A real agent under a real supervisor on a real broker, from the first report to the confirmed boot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, changed, firmware

from edgesync.sim.broker import MosquittoBroker
from edgesync.wire.ids import digest_of
from edgesync.wire.messages import Phase

pytestmark = pytest.mark.broker

OLD = firmware(2 << 20, 1)
NEW = changed(OLD, 2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path / "broker") as started:
        yield started


def test_a_board_goes_from_one_image_to_the_next_by_a_delta_and_proves_it(
    tmp_path: Path, broker: MosquittoBroker
) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker) as rig:
            rig.install(OLD)
            rig.start()
            first = await rig.confirmed(OLD)
            assert (first.slot, first.images) == ("a", {"rootfs": digest_of(OLD)})
            source = rig.delta(OLD, NEW)
            await rig.publish(source.blob)
            await rig.want(rig.desired(NEW, source))
            last = await rig.confirmed(NEW)
            assert last.slot == "b"
            assert last.boot_id != first.boot_id
            assert last.traffic.blob == source.length
            assert last.traffic.refetched == 0
            phases = {r.phase for r in rig.reports}
            assert phases >= {Phase.ACTIVATING, Phase.CONFIRMING}
            assert [r.counter for r in rig.reports] == sorted({r.counter for r in rig.reports})

    asyncio.run(scenario())
