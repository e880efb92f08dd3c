"""One fleet's keys, made once, and one honest message of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from trust_fleet import DAY, DEVICE, NOW, Fleet

from edgesync.trust import director, keys
from edgesync.wire.ids import BlobId, digest_of
from edgesync.wire.messages import Desired, ErrorReport, Phase, Reported, Source, Target, Traffic


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    path = tmp_path_factory.mktemp("fleet")
    public = {name: keys.generate(str(path / name)) for name in ("root", "director", "board", "stranger")}
    signers = {name: keys.load_signer(str(path / name)) for name in public}
    root = director.create_root(public["director"], signers["root"], NOW + 3650 * DAY)
    Path(path / "root.json").write_bytes(root)
    return Fleet(
        signers["root"],
        signers["director"],
        signers["board"],
        signers["stranger"],
        root,
        str(path / "root.json"),
        str(path / "board"),
        public["board"],
    )


@pytest.fixture
def desired() -> Desired:
    """Two components, both as deltas: what a real rollout sends."""
    return Desired(
        DEVICE,
        7,
        digest_of(b"commit")[:40],
        digest_of(b"rollout")[:16],
        "2026.11.1",
        (
            Target("boot", "2026.11.1", 33_554_432, digest_of(b"boot"), _delta(b"boot-2026.10", 20_480)),
            Target("root", "2026.11.1", 134_217_728, digest_of(b"root"), _delta(b"root-2026.10", 382_001)),
        ),
    )


@pytest.fixture
def message(fleet: Fleet, desired: Desired) -> bytes:
    """`desired`, signed by the director, valid for a day."""
    return director.sign_desired(desired, fleet.director, NOW + DAY)


@pytest.fixture
def reported() -> Reported:
    return Reported(
        DEVICE,
        117,
        "5d0e3c0e-6c2b-4d54-b3e5-fa0f0ad5f7a1",
        "a",
        True,
        {"boot": digest_of(b"boot-2026.10"), "root": digest_of(b"root-2026.10")},
        Phase.WAITING,
        7,
        digest_of(b"rollout")[:16],
        120_000,
        382_001,
        ErrorReport("BlobMissing", "piece 7 of blob " + digest_of(b"blob")[:32]),
        (BlobId(digest_of(b"blob")[:32]),),
        (digest_of(b"bad"),),
        Traffic(120_000, 0, 1_400, 900, 130_000, 8_000),
        "0.1.0",
        NOW,
    )


def _delta(base: bytes, length: int) -> Source:
    return Source("delta", BlobId(digest_of(base + b".blob")[:32]), length, digest_of(base))
