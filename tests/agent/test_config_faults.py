"""Config on a real board whose life is hard: drift, firmware that falls back, blobs that are missing, and kills at any
moment while a reader looks all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from config_rig import ROOT, ConfigRig, bundle
from rig import Rig, changed, firmware

from edgesync.sim.broker import MosquittoBroker
from edgesync.wire.bundle import Bundle, BundleFile, encode
from edgesync.wire.ids import digest_of
from edgesync.wire.messages import ConfigPhase, Phase

pytestmark = pytest.mark.broker

IMAGE = firmware(64 << 10, 1)
ONE, TWO = {"app/main.conf": "speed = 1\n"}, {"app/main.conf": "speed = 2\n"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path / "broker") as started:
        yield started


@pytest.mark.parametrize("drift", ["heal", "report"])
def test_a_file_that_someone_changes_is_healed_or_only_reported_as_the_fleet_says(
    tmp_path: Path, broker: MosquittoBroker, drift: str
) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker, hurried=True) as rig:
            config = ConfigRig(rig)
            await rig.begin(IMAGE)
            data = bundle(ONE, drift=drift)
            await config.offer(IMAGE, data)
            await config.settled(data)
            since = len(rig.reports)
            (config.root / "current" / "app" / "main.conf").write_text("speed = 9\n")
            (config.root / "current" / "left.over").write_text("x")
            await rig.reported(lambda r: r.config is not None and r.config.drift == 2, since=since)
            if drift == "heal":
                await rig.reported(lambda r: r.config is not None and r.config.drift == 0, since=len(rig.reports) - 1)
                assert config.files() == ONE
            else:
                assert config.files() == {"app/main.conf": "speed = 9\n", "left.over": "x"}
            assert rig.reports[-1].config
            assert rig.reports[-1].config.sha256 == digest_of(data)

    asyncio.run(scenario())


def test_a_path_or_a_command_that_the_board_does_not_offer_is_refused_by_name(
    tmp_path: Path, broker: MosquittoBroker
) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker, hurried=True) as rig:
            config = ConfigRig(rig)
            await rig.begin(IMAGE)
            good = bundle(ONE)
            await config.offer(IMAGE, good)
            await config.settled(good)
            for bad, told in (
                (bundle({**ONE, "etc/passwd": "x"}), "path 'etc/passwd' is not allowed here"),
                (bundle(ONE, reload=("reboot",)), "command 'reboot' is not known here"),
            ):
                await config.offer(IMAGE, bad, base=good)
                failed = await config.settled(good, ConfigPhase.FAILED, error="NotAllowed")
                assert failed.config
                assert failed.config.error
                assert told in failed.config.error.detail
                assert digest_of(bad) in failed.quarantine
            assert config.files() == ONE

    asyncio.run(scenario())


def test_a_missing_blob_is_told_and_taken_when_it_comes(tmp_path: Path, broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker, hurried=True) as rig:
            config = ConfigRig(rig)
            await rig.begin(IMAGE)
            data = bundle(ONE)
            source = rig.full(data)
            await config.want(IMAGE, data, source)
            starved = await rig.reported(lambda r: r.missing == (source.blob,))
            assert starved.config
            assert starved.config.phase is ConfigPhase.WAITING
            await rig.publish(source.blob, ROOT)
            await config.settled(data)
            assert config.files() == ONE

    asyncio.run(scenario())


def test_a_bundle_of_many_blocks_comes_whole(tmp_path: Path, broker: MosquittoBroker) -> None:
    async def scenario() -> None:
        async with Rig(tmp_path, broker, hurried=True) as rig:
            config = ConfigRig(rig)
            await rig.begin(IMAGE)
            noise = {f"app/{n}": BundleFile(random.Random(n).randbytes(4000), 0o640) for n in range(60)}
            data = encode(Bundle(noise))
            await config.offer(IMAGE, data)
            await config.settled(data)
            current = config.root / "current"
            assert {str(p.relative_to(current)) for p in current.rglob("*") if p.is_file()} == set(noise)
            assert all((current / path).read_bytes() == file.data for path, file in noise.items())

    asyncio.run(scenario())


def test_firmware_that_falls_back_brings_its_config_back(tmp_path: Path, broker: MosquittoBroker) -> None:
    newer = changed(IMAGE, 2)

    async def scenario() -> None:
        async with Rig(tmp_path, broker, hurried=True) as rig:
            config = ConfigRig(rig)
            await rig.begin(IMAGE)
            old, new = bundle(ONE), bundle(TWO)
            await config.offer(IMAGE, old)  # version v1 of the firmware
            await config.settled(old)
            source = rig.full(newer)
            await rig.publish(source.blob)
            blob = rig.delta(old, new)
            await rig.publish(blob.blob, ROOT)
            # Both at once: the config waits for the firmware that it requires, which is the next version.
            both = await config.want(newer, new, blob, f"rootfs >= v{rig.version + 1}", image_source=source)
            await rig.confirmed(newer)
            report = await config.settled(new)
            assert (report.phase, report.version) == (Phase.IDLE, both.version)
            # Someone boots the old slot by hand, as a boot loader does that gives the new one up.
            await rig.halt()
            (rig.board / "slots" / "try.json").unlink()
            rig.start()
            back = await config.settled(old, ConfigPhase.WAITING)
            assert back.images == {"rootfs": digest_of(IMAGE)}
            assert back.config
            assert back.config.error
            assert back.config.error.name == "Requirement"
            assert (config.files(), back.quarantine) == (ONE, ())

    asyncio.run(scenario())


READER = """
import json, os, sys
current, told = sys.argv[1], sys.argv[2]
looks = switches = 0
last = None
while not os.path.exists(told + ".stop"):
    try:
        fd = os.open(current, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        continue
    seen = set()
    try:
        for number in range(8):
            with open(os.open(f"app/{number}", os.O_RDONLY, dir_fd=fd), "rb") as file:
                seen.add(file.read())
    except FileNotFoundError as error:
        seen.add(repr(error).encode())  # as bad as a mixture
    finally:
        os.close(fd)
    looks += 1
    switches += seen != last
    last = seen
    if len(seen) != 1:
        break
with open(told, "w") as out:
    json.dump({"looks": looks, "switches": switches, "last": [s.decode() for s in seen]}, out)
"""


def generation(number: int, *, good: bool) -> bytes:
    text = f"generation {number} {'good' if good else 'bad'}\n"
    return bundle({f"app/{n}": text for n in range(8)}, check=("check",), probe=("probe",), reload=("reload",))


def test_a_board_that_is_killed_at_any_moment_ends_on_the_last_good_config_and_no_reader_sees_a_mixture(
    tmp_path: Path, broker: MosquittoBroker
) -> None:
    dice = random.Random(int(os.environ.get("EDGESYNC_SEED", "7")))
    scripts = {"probe": 'sleep 0.1; grep -q good "$1/app/0"', "check": 'test -e "$1/app/7"', "reload": "true"}

    async def scenario() -> None:
        async with Rig(tmp_path, broker, hurried=True) as rig:
            config = ConfigRig(rig, scripts)
            await rig.begin(IMAGE)
            told = tmp_path / "told"
            command = [sys.executable, "-c", READER, str(config.root / "current"), str(told)]
            with await asyncio.to_thread(subprocess.Popen, command) as reader:
                try:
                    last = b""
                    for number in range(16):
                        data = generation(number, good=dice.random() < 0.6)
                        last = data if b" good" in data else last
                        await config.offer(IMAGE, data)
                        for _ in range(dice.randrange(3)):
                            await asyncio.sleep(dice.random())
                            with contextlib.suppress(IndexError, ProcessLookupError):
                                dice.choice([rig.kill_agent, rig.power_cut])()
                        await asyncio.sleep(dice.choice([0.0, 0.2, 1.5]))
                    if last != data:
                        last = generation(99, good=True)
                        await config.offer(IMAGE, last)
                    await config.settled(last, limit=60)
                finally:
                    (tmp_path / "told.stop").touch()
                assert reader.wait(20) == 0
            seen = json.loads(told.read_text())
            assert seen["last"] == [config.files()["app/0"]], "one tree and no mixture"
            assert seen["switches"] > 3
            assert seen["looks"] > 100
            assert config.linked() == digest_of(last)

    asyncio.run(scenario())
