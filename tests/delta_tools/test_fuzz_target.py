"""What `make fuzz` runs, with a few inputs and without atheris: so that the target itself is known to work."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.delta_reader import Reader, change_stream


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module", params=[0, pytest.param(1, marks=pytest.mark.mixing)], ids=["", "mixed"])
def seed(reader: Reader, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> bytes:
    return list(reader.seeds(tmp_path_factory.mktemp("seeds")))[request.param]


def test_the_seed_is_a_good_delta(reader: Reader, seed: bytes):
    assert reader.one(seed) == ""


def test_damage_gets_behind_the_checksums_and_always_a_name(reader: Reader, seed: bytes):
    chance, names = random.Random(4), set()
    for _ in range(150):
        body = bytearray(seed)
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        end = len(body) if chance.random() < 0.5 else chance.randrange(len(body))
        names.add(reader.one(bytes(body[:end])))
    assert "DeltaCorrupt" in names
    assert names <= {"", "DeltaCorrupt", "ResultMismatch", "UnknownFormat"}


def test_changed_streams_are_packed_again_and_refused_for_what_they_say(reader: Reader, seed: bytes):
    chance, bodies = random.Random(5), set()
    for _ in range(60):
        blob = change_stream(reader.header + seed, chance, lambda plain: _flipped(plain, chance))
        bodies.add(blob[len(reader.header) :])
    assert len(bodies) > 20
    assert {reader.one(body) for body in bodies} <= {"", "DeltaCorrupt", "ResultMismatch"}


def _flipped(plain: bytes, chance: random.Random) -> bytes:
    changed = bytearray(plain or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)
