"""What is signed: of each board the newest alone, config by the smallest way, saved before it is published."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from edgesync.control import signing
from edgesync.control.configblobs import ConfigBlob, ConfigBlobs
from edgesync.control.signing import Signing
from edgesync.control.standing import Offered
from edgesync.control.state import Signed
from edgesync.host.tasks import end
from edgesync.trust.director import create_root, verify_desired
from edgesync.trust.keys import parse_signer
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.ids import DeviceId, Digest, digest_of
from edgesync.wire.messages import ConfigTarget, Desired

A, B = DeviceId("demo.a"), DeviceId("demo.b")
OLD, NEW = b"interval = 60\n" * 40, b"interval = 60\n" * 40 + b"level = debug\n"
SIGNER = parse_signer(CryptoSigner.generate_ed25519().private_bytes, "director")
ROOT = create_root(SIGNER.public_key.keyval["public"], SIGNER, 2_000_000_000)


def offered(device: DeviceId, version: int, config: bytes = NEW, base: bytes | None = OLD, **other: Any) -> Offered:
    target = ConfigTarget(digest_of(config), len(config))
    desired = Desired(device, version, "c" * 40, "r1", "v1", config=target)
    held = digest_of(base) if base is not None else ""
    return replace(Offered(desired, "boot", {}, 0.0, 1_900_000_000.0, version, held), **other)


class World:
    """Store, driver and publisher: what was saved, what is in force, what was published, in order."""

    def __init__(self, *bundles: bytes) -> None:
        self.stored = {digest_of(bundle): bundle for bundle in bundles}
        self.force: dict[DeviceId, Offered] = {}
        self.log: list[tuple[str, DeviceId, int]] = []
        self.published: dict[DeviceId, tuple[Desired, ConfigBlob | None]] = {}
        self.errors: dict[DeviceId, str] = {}
        self.chunks: list[int] = []
        self.signing = Signing(self, SIGNER, self)  # type: ignore[arg-type]

    def offer(self, *offers: Offered) -> None:
        given = {one.desired.device: one for one in offers}
        self.force |= given
        self.signing.put(given)

    async def settled(self) -> None:
        task = asyncio.ensure_future(self.signing.run(self))  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            while not self.signing.idle:
                await asyncio.sleep(0)
        await end([task])

    # the store

    def bundles(self, digests: set[Digest]) -> dict[Digest, bytes]:
        return {digest: self.stored[digest] for digest in digests if digest in self.stored}

    def save_signed(self, signed: Mapping[DeviceId, Signed]) -> None:
        self.chunks.append(len(signed))
        self.log += [("saved", device, message.version) for device, message in signed.items()]

    # the driver

    async def persist(self, work: Callable[[], None]) -> None:
        work()
        await asyncio.sleep(0)

    def in_force(self, device: DeviceId) -> Offered | None:
        return self.force.get(device)

    def refused(self, device: DeviceId, error: EdgesyncError) -> None:
        self.errors[device] = error.name

    # the publisher

    def desire(self, device: DeviceId, packed: bytes, _blobs: object, config: ConfigBlob | None) -> None:
        desired = verify_desired(packed, ROOT, device, 0, 1_800_000_000.0)
        self.log.append(("published", device, desired.version))
        self.published[device] = desired, config


def test_it_is_saved_before_it_is_published_and_names_the_blob_that_goes_with_it() -> None:
    world = World(OLD, NEW)
    world.offer(offered(A, 3))
    asyncio.run(world.settled())
    assert world.log == [("saved", A, 3), ("published", A, 3)]
    desired, blob = world.published[A]
    assert desired.config is not None
    assert blob is not None
    assert desired.config.source == blob.source == world.signing.sources[A]
    assert (blob.source.kind, blob.source.base, blob.source.length) == ("delta", digest_of(OLD), len(blob.data))


@pytest.mark.parametrize(
    ("given_", "kind"),
    [
        (offered(A, 1), "delta"),
        (offered(A, 1, whole=True), "full"),
        (offered(A, 1, base=None), "full"),
        (offered(A, 1, base=b"of another server"), "full"),
    ],
)
def test_the_delta_is_from_what_the_board_holds_if_it_can_serve(given_: Offered, kind: str) -> None:
    world = World(OLD, NEW)
    world.offer(given_)
    asyncio.run(world.settled())
    assert world.signing.sources[A].kind == kind


def test_a_board_that_holds_the_config_is_sent_none_of_it_and_so_is_a_hold() -> None:
    world = World(NEW)
    held = offered(A, 1, base=NEW)
    hold = offered(B, 1)
    world.offer(held, replace(hold, desired=replace(hold.desired, config=None, hold="aborted")))
    asyncio.run(world.settled())
    assert [config for _, config in world.published.values()] == [None, None]
    assert world.published[A][0].config == ConfigTarget(digest_of(NEW), len(NEW))
    assert world.signing.sources == {}


def test_of_two_for_one_board_only_the_newest_is_signed() -> None:
    world = World(OLD, NEW)
    world.offer(offered(A, 1))
    world.offer(offered(A, 2, config=OLD, base=NEW))
    asyncio.run(world.settled())
    assert world.log == [("saved", A, 2), ("published", A, 2)]


def test_what_is_no_longer_in_force_when_it_is_signed_is_not_published() -> None:
    world = World(OLD, NEW)
    world.offer(offered(A, 1), offered(B, 1))
    world.force[A] = offered(A, 2)
    del world.force[B]
    asyncio.run(world.settled())
    assert world.published == {}


def test_a_board_that_left_is_not_signed_for() -> None:
    world = World(OLD, NEW)
    world.offer(offered(A, 1))
    world.signing.forget(A)
    asyncio.run(world.settled())
    assert world.log == []


def test_one_that_cannot_be_signed_is_told_and_the_others_are() -> None:
    world = World(OLD, NEW)
    world.offer(offered(A, 1, config=b"lost"), offered(B, 1))
    asyncio.run(world.settled())
    assert world.errors == {A: "BuildFailed"}
    assert list(world.published) == [B]


@given(st.lists(st.integers(0, 2 * signing.CHUNK_BYTES), min_size=1, max_size=3 * signing.CHUNK))
def test_chunks_are_of_few_boards_and_few_bytes_but_never_of_none(lengths: list[int]) -> None:
    world = World()
    for number, length in enumerate(lengths):
        given_ = offered(DeviceId(f"demo.b{number}"), 1)
        target = ConfigTarget(digest_of(NEW), length)
        world.signing.put({given_.desired.device: replace(given_, desired=replace(given_.desired, config=target))})
    taken = []
    while not world.signing.idle:
        chunk = world.signing._take()
        sizes = [one.desired.config.length for one in chunk.values() if one.desired.config]
        assert 1 <= len(chunk) <= signing.CHUNK
        assert len(chunk) == 1 or sum(sizes) <= signing.CHUNK_BYTES
        taken += sizes
    assert taken == lengths


@given(st.binary(min_size=1, max_size=3000), st.binary(min_size=1, max_size=3000))
def test_no_way_to_a_config_is_longer_than_the_whole_of_it(base: bytes, bundle: bytes) -> None:
    blobs = ConfigBlobs()
    whole = blobs.make(digest_of(bundle), bundle, None)
    chosen = blobs.make(digest_of(bundle), bundle, (digest_of(base), base))
    assert len(chosen.data) <= len(whole.data)
    assert chosen.source.length == len(chosen.data)


def test_a_bundle_that_has_little_of_the_one_before_goes_whole() -> None:
    chance = random.Random(3)
    old, new = ("".join(f"sensor-{chance.randrange(10**6)}: on\n" for _ in range(2000)).encode() for _ in range(2))
    assert ConfigBlobs().make(digest_of(new), new, (digest_of(old), old)).source.kind == "full"


def test_boards_that_go_the_same_way_share_its_bytes_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = ConfigBlobs()
    base = digest_of(OLD), OLD
    assert blobs.make(digest_of(NEW), NEW, base) is blobs.make(digest_of(NEW), NEW, base)
    monkeypatch.setattr("edgesync.control.configblobs.MEMORY", 2000)
    for seed in range(20):
        other = random.Random(seed).randbytes(500)
        blobs.make(digest_of(other), other, None)
        assert sum(len(made.data) for made in blobs._made.values()) <= 2000
