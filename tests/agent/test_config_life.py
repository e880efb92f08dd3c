"""Config on a real board: a real agent on a real broker takes bundles, switches, probes, and goes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from config_rig import ConfigRig, bundle
from rig import Rig, firmware

from edgesync.sim.broker import MosquittoBroker
from edgesync.wire.ids import digest_of
from edgesync.wire.messages import ConfigPhase

pytestmark = pytest.mark.broker

IMAGE = firmware(64 << 10, 1)
ONE, TWO = {"app/main.conf": "speed = 1\n"}, {"app/main.conf": "speed = 2\n"}
COUNT = 'echo "$1" >> "$(dirname "$0")/{name}.log"'


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path / "broker") as started:
        yield started


def test_a_board_takes_a_bundle_then_the_delta_to_the_next_and_tells_it_in_one_report_each(
    tmp_path: Path, broker: MosquittoBroker
) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker) as rig:
            config = ConfigRig(rig, {"reload": COUNT.format(name="reload")})
            await rig.begin(IMAGE)
            before, first = len(rig.reports), bundle(ONE, reload=("reload",))
            await config.offer(IMAGE, first)
            await config.settled(first)
            assert config.files() == ONE
            assert len(rig.reports) == before + 1
            second = bundle(TWO, reload=("reload",))
            await config.offer(IMAGE, second, base=first)
            report = await config.settled(second)
            assert config.files() == TWO
            assert len(rig.reports) == before + 2
            assert report.version == rig.version
            reloaded = (config.scripts / "reload.log").read_text().split()
            assert reloaded == [str(config.root / "trees" / digest_of(data)) for data in (first, second)]

    asyncio.run(scenario())


def test_a_probe_that_passes_and_then_fails_brings_the_config_before_back(
    tmp_path: Path, broker: MosquittoBroker
) -> None:
    flaps = 'grep -q "speed = 1" "$1/app/main.conf" || { date >> $0.log; [ $(wc -l < $0.log) -lt 2 ]; }; echo flap'
    flaps = flaps.replace("; echo flap", " || { echo it flaps; exit 3; }")

    async def scenario() -> None:
        async with Rig(tmp_path, broker) as rig:
            config = ConfigRig(rig, {"probe": flaps, "reload": COUNT.format(name="reload")})
            await rig.begin(IMAGE)
            settings = {"probe": ("probe",), "probe_seconds": 3, "reload": ("reload",)}
            good, bad = bundle(ONE, **settings), bundle(TWO, **settings)
            await config.offer(IMAGE, good)
            await config.settled(good)
            await config.offer(IMAGE, bad, base=good)
            report = await config.settled(good, ConfigPhase.FAILED)
            assert report.config
            assert report.config.error
            assert (report.config.error.name, report.config.error.detail) == (
                "ProbeFailed",
                "probe: exit status 3: it flaps",
            )
            assert report.quarantine == (digest_of(bad),)
            assert config.files() == ONE
            assert len((config.scripts / "reload.log").read_text().split()) == 3, "the old config is reloaded as well"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo first; echo speed 2 is too much >&2; exit 1", "check: exit status 1: speed 2 is too much"),
        ("echo waiting; sleep 60 & wait", "check: not done in time: waiting (1 s)"),
    ],
)
def test_a_check_that_refuses_or_hangs_costs_an_error_and_nothing_else(
    tmp_path: Path, broker: MosquittoBroker, script: str, error: str
) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker) as rig:
            config = ConfigRig(rig, {"check": f'grep -q "speed = 1" "$1/app/main.conf" || {{ {script}; }}'}, limit=1)
            await rig.begin(IMAGE)
            good, bad = bundle(ONE, check=("check",)), bundle(TWO, check=("check",))
            await config.offer(IMAGE, good)
            await config.settled(good)
            await config.offer(IMAGE, bad, base=good)
            report = await config.settled(good, ConfigPhase.FAILED)
            assert report.config
            assert report.config.error
            assert (report.config.error.name, report.config.error.detail) == ("CheckFailed", error)
            assert config.files() == ONE

    asyncio.run(scenario())
