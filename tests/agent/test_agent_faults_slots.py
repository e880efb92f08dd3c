"""A real agent whose slots go wrong: images that do not boot, bases that were written to, disks that are full."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rig import behind, changed, firmware, link

from edgesync.boards.bootloader import MARKER
from edgesync.sim import ustar
from edgesync.wire.ids import digest_of
from edgesync.wire.messages import Phase, Reported, Target

pytestmark = pytest.mark.broker

OLD = firmware(256 << 10, 1)
NEW = firmware(256 << 10, 2)
CLOSE = changed(OLD, 3)
REFUSED = ustar.header(MARKER, 0, 0) + ustar.END
"""A tar whose only member tells the boot loader not to boot it."""


def failed(error: str, version: int) -> Callable[[Reported], bool]:
    """Whether a report says: stopped by this error over the desired state of this version."""

    def fits(report: Reported) -> bool:
        named = report.error is not None and report.error.name == error
        return named and report.phase is Phase.FAILED and report.version == version

    return fits


def test_an_image_that_does_not_boot_is_left_and_tried_again_only_when_the_operator_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(REFUSED)
            await rig.offer(REFUSED, source)
            told = await rig.reported(failed("BootFailed", 1))
            assert (told.slot, told.confirmed, told.quarantine) == ("a", True, (digest_of(REFUSED),))
            assert rig.log().count('"refuse"') == 3, "it had its tries"

            await rig.want(rig.desired(REFUSED, source))
            told = await rig.reported(failed("Quarantined", 2))
            assert (told.traffic.blob, told.images["rootfs"]) == (0, digest_of(OLD))
            assert rig.log().count('"refuse"') == 3, "no further boot was spent on it"

            await rig.want(rig.desired(REFUSED, source, retry=1))
            await rig.reported(failed("BootFailed", 3))
            assert rig.log().count('"refuse"') == 6

            await rig.offer(CLOSE, rig.delta(OLD, CLOSE))
            assert (await rig.confirmed(CLOSE)).error is None

    asyncio.run(scenario())


def test_an_image_that_cannot_reach_the_broker_gives_its_slot_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            await rig.offer(CLOSE, rig.delta(OLD, CLOSE))
            await rig.reported(lambda r: r.phase is Phase.ACTIVATING)
            proxy.unplug()
            await rig.logged('"event": "fallback"')
            proxy.plug()
            told = await rig.reported(failed("ProbeFailed", 1))
            assert (told.slot, told.confirmed, told.quarantine) == ("a", True, (digest_of(CLOSE),))
            assert told.images == {"rootfs": digest_of(OLD)}

    asyncio.run(scenario())


def test_a_base_that_was_written_to_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, proxy):
            await rig.begin(changed(OLD, 9, edits=1))
            source = rig.delta(OLD, CLOSE)
            await rig.publish(source.blob)
            before = proxy.counters().down
            await rig.want(rig.desired(CLOSE, source))
            told = await rig.reported(failed("BaseModified", 1))
            assert (told.traffic.blob, told.done) == (0, 0)
            assert proxy.counters().down - before < min(4096, source.length)
            await rig.offer(CLOSE, rig.full(CLOSE))
            await rig.confirmed(CLOSE)

    asyncio.run(scenario())


def test_a_base_that_is_written_to_after_the_boot_makes_no_wrong_image(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            rig.spoil("a")
            await rig.offer(CLOSE, rig.delta(OLD, CLOSE))
            await rig.reported(failed("BaseModified", 1))

    asyncio.run(scenario())


def test_a_delta_that_makes_another_image_than_the_signed_one_is_never_booted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)
            source = rig.full(NEW)
            await rig.publish(source.blob)
            wanted = Target("rootfs", "v1", len(NEW), digest_of(CLOSE), source)
            await rig.want(rig.desired(NEW, source, targets=(wanted,)))
            await rig.reported(failed("ResultMismatch", 1))

            nonsense = replace(source, kind="delta", base=digest_of(OLD))
            await rig.want(rig.desired(NEW, nonsense))
            told = await rig.reported(lambda r: r.version == 2 and r.phase is Phase.FAILED)
            assert told.error
            assert told.error.name in {"DeltaCorrupt", "UnknownFormat"}
            assert '"trial": true' not in rig.log()

    asyncio.run(scenario())


def test_a_component_that_does_not_change_is_in_the_new_slot_too_and_is_never_blamed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            rig.install(NEW, "kernel")
            await rig.begin(OLD)
            source = rig.full(REFUSED)
            kernel = Target("kernel", "k1", len(NEW), digest_of(NEW))
            await rig.publish(source.blob)
            broken = rig.desired(REFUSED, source)
            await rig.want(replace(broken, targets=(kernel, *broken.targets)))
            told = await rig.reported(failed("BootFailed", 1))
            assert told.quarantine == (digest_of(REFUSED),)

            source = rig.delta(OLD, CLOSE)
            await rig.publish(source.blob)
            good = rig.desired(CLOSE, source)
            await rig.want(replace(good, targets=(kernel, *good.targets)))
            last = await rig.confirmed(CLOSE)
            assert last.images == {"kernel": digest_of(NEW), "rootfs": digest_of(CLOSE)}
            assert rig.slot("b", "kernel") == digest_of(NEW)

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.parametrize(("place", "room"), [("state", 2 << 20), ("slots/b", 1 << 20)])
def test_a_full_disk_is_told_and_the_board_goes_on_when_there_is_room(tmp_path: Path, place: str, room: int) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            with small_disk(rig.board / place, room) as filler:
                await rig.begin(OLD)
                filler.write_bytes(bytes(room - (200 << 10)))
                source = rig.full(NEW)
                await rig.offer(NEW, source)
                told = await rig.reported(lambda r: r.error is not None and r.error.name == "DiskFull")
                assert told.phase is Phase.WAITING
                filler.unlink()
                last = await rig.confirmed(NEW)
                assert (last.traffic.blob, last.traffic.refetched) == (source.length, 0)
                await rig.halt()

    asyncio.run(scenario())


@pytest.mark.root
def test_a_disk_that_is_full_to_the_last_byte_costs_no_report_and_no_life(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            with small_disk(rig.board / "state", 2 << 20) as filler:
                first = await rig.begin(OLD)
                fill(filler)
                source = rig.delta(OLD, CLOSE)
                await rig.offer(CLOSE, source)
                await rig.logged("state not saved: DiskFull")
                filler.unlink()
                await rig.confirmed(CLOSE)
                assert rig.log().count('"agent-exit"') == 1, "only for the reboot"
                counters = [r.counter for r in rig.reports]
                assert counters == sorted(set(counters))
                assert counters[0] == first.counter
                await rig.halt()

    asyncio.run(scenario())


def fill(path: Path) -> None:
    """Write until the file system has no byte left."""
    with path.open("wb", buffering=0) as file:
        for size in (64 << 10, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at `place`; yields the path of a file that may fill it."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "edgesync-test", str(place)], check=True)
    try:
        yield place / "filler"
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
