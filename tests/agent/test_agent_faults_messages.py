"""A real agent that hears what nobody should have said: forged, foreign, stale, oversized and random bytes.

What it fetches because of them is measured on the link, not asked of the agent.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from rig import DEVICE, FLEET, YEAR, Rig, behind, changed, firmware, link
from tuf.api.metadata import Metadata, Targets

from edgesync.trust import director, keys
from edgesync.wire import blob as layout
from edgesync.wire import codec, topics
from edgesync.wire.ids import device_id
from edgesync.wire.messages import Desired, Phase, Reported

pytestmark = pytest.mark.broker

OLD = firmware(256 << 10, 1)
NEW = firmware(256 << 10, 2)
CLOSE = changed(OLD, 3)
NOISE = random.Random(4).randbytes(65536)
DESIRED = topics.desired(FLEET, DEVICE)


async def refused(rig: Rig, error: str, told_so_far: int) -> Reported:
    """The report that names this error, of a board that stays as it was. The same error again is not told again, so
    the last of the earlier reports counts as well.
    """
    return await rig.reported(
        lambda r: r.error is not None and r.error.name == error and r.phase is Phase.IDLE, 20, told_so_far - 1
    )


def unsigned(message: bytes) -> bytes:
    """The same without its signature."""
    metadata = Metadata[Targets].from_bytes(codec.unpack(message))
    metadata.signatures.clear()
    return codec.pack(metadata.to_bytes())


def forgeries(rig: Rig, good: Desired) -> dict[str, tuple[bytes, str]]:
    """What -> the message, and the name of the error that it must get. All of them name a blob that is there."""
    keys.generate(str(rig.root / "attacker.key"))
    attacker = keys.load_signer(str(rig.root / "attacker.key"))
    now = int(time.time())
    signed = rig.signed(good)
    touched = bytearray(codec.unpack(signed))
    at = touched.index(b"rollout") - 40
    touched[at] ^= 1
    elsewhere = replace(good, device=device_id(FLEET, "b02"))
    return {
        "signed by an attacker's key": (director.sign_desired(good, attacker, now + YEAR), "ForgedMessage"),
        "signed, then changed": (codec.pack(bytes(touched)), "ForgedMessage"),
        "for another board": (rig.signed(elsewhere), "StaleMessage"),
        "expired": (director.sign_desired(good, rig.signer, now - 1), "StaleMessage"),
        "not signed": (unsigned(signed), "ForgedMessage"),
        "not TUF at all": (codec.pack(codec.canonical(good.to_dict())), "MalformedMessage"),
        "random bytes": (NOISE[:900], "MalformedMessage"),
        "cut off": (signed[:-20], "MalformedMessage"),
        "a bomb": (bomb(), "MessageTooLarge"),
        "too large": (NOISE[: codec.PACKED_LIMIT + 1], "MessageTooLarge"),
        "as large as a packet may be": (NOISE[:60000], "MessageTooLarge"),
    }


def bomb() -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    return deflate.compress(bytes(4 << 20)) + deflate.flush()


def test_no_forged_desired_costs_a_board_one_fetched_block(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            await rig.publish(source.blob)
            good = rig.desired(NEW, source)
            for what, (message, error) in forgeries(rig, good).items():
                before, told_so_far, logged = proxy.counters().down, len(rig.reports), len(rig.log())
                await rig.say({DESIRED: message})
                await rig.logged(f"refused: {error}:", since=logged)
                told = await refused(rig, error, told_so_far)
                assert proxy.counters().down - before < len(message) + layout.BLOCK // 2, what
                assert (told.traffic.blob, told.traffic.refetched, told.version) == (0, 0, 0), what
            await rig.say({DESIRED: rig.signed(good)})
            assert (await rig.confirmed(NEW)).error is None

    asyncio.run(scenario())


def test_an_older_desired_that_was_signed_once_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            back = rig.full(NEW)
            await rig.publish(back.blob)
            older = rig.signed(rig.desired(NEW, back))
            source = rig.delta(OLD, CLOSE)
            await rig.offer(CLOSE, source)
            await rig.confirmed(CLOSE)
            before, told_so_far = proxy.counters().down, len(rig.reports)
            await rig.say({DESIRED: older})
            told = await refused(rig, "StaleMessage", told_so_far)
            assert proxy.counters().down - before < layout.BLOCK
            assert (told.version, told.confirmed, told.slot) == (2, True, "b")

    asyncio.run(scenario())


def test_a_flood_of_forged_messages_is_checked_ever_more_slowly_and_the_true_one_is_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, _):
            await rig.begin(OLD)

            async def flood() -> None:
                for number in range(5000):
                    await rig.say({DESIRED: NOISE[number : number + 500]})
                    await asyncio.sleep(0.02)

            flooding = asyncio.create_task(flood())
            deadline = time.monotonic() + 30
            while (checked := rig.log().count("refused:")) < 9:
                assert time.monotonic() < deadline, f"{checked} checks"
                await asyncio.sleep(0.05)
            # The pause after the ninth is 256 times the first; without pauses there would be several checks in it.
            await asyncio.sleep(2)
            assert rig.log().count("refused:") == checked
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            await rig.offer(CLOSE, rig.delta(OLD, CLOSE))
            await rig.confirmed(CLOSE)

    asyncio.run(scenario())


def test_wrong_bytes_on_every_topic_of_a_blob_are_refused_and_replaced_by_the_right_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            source = rig.full(NEW)
            right = rig.messages(source.blob)
            wrong = {
                topics.index(topics.firmware(FLEET), source.blob): NOISE[:40],
                topics.leaf(topics.firmware(FLEET), source.blob, 0): NOISE[:60000],
                topics.block(topics.firmware(FLEET), source.blob, 0, 0): NOISE[: layout.BLOCK],
                topics.block(topics.firmware(FLEET), source.blob, 1, 0): NOISE[:60000],
                topics.block(topics.firmware(FLEET), source.blob, 1, 99): NOISE[:10],
                topics.block(topics.firmware(FLEET), source.blob, 2, 1): NOISE[:1],
                f"es1/{FLEET}/b/{source.blob}/3/notanumber": NOISE[:10],
            }
            before = proxy.counters().down
            await rig.say({**right, **wrong})
            await rig.want(rig.desired(NEW, source))
            for topic in wrong.keys() & right.keys():
                await asyncio.sleep(1)
                await rig.say({topic: right[topic]})
            last = await rig.confirmed(NEW, 60)
            assert last.traffic.blob == source.length
            told = {r.error.name for r in rig.reports if r.error}
            assert "BlobCorrupt" in told
            assert told <= {"BlobCorrupt", "BlobMissing", "MalformedMessage"}
            assert proxy.counters().down - before < 3 * source.length, "wrong bytes are not paid for without end"

    asyncio.run(scenario())


def test_a_packet_above_the_limit_is_not_read_and_the_board_goes_on_when_it_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(link(1e6), tmp_path) as (rig, proxy):
            await rig.begin(OLD)
            before, told_so_far = proxy.counters(), len(rig.reports)
            await rig.say({DESIRED: bytes(10 << 20)})
            await refused(rig, "MessageTooLarge", told_so_far)
            connections = proxy.counters().accepted - before.accepted
            assert proxy.counters().down - before.down < (1 + connections) * (64 << 10), (
                "not read, and not much of it carried"
            )
            source = rig.delta(OLD, CLOSE)
            await rig.offer(CLOSE, source)
            await rig.confirmed(CLOSE)

    asyncio.run(scenario())
