"""Golden deltas, cut, continued and damaged in every place: the image or a refusal, the same with numpy and without,
and never a byte from outside the base or behind the target.
"""

from __future__ import annotations

import os

import pytest
from delta_parts import Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.delta import disk
from edgesync.delta.format import parse_header
from edgesync.delta.switch import VARIABLE
from edgesync.wire.errors import EdgesyncError
from tests.delta.golden import ALL

BY_NAME = {golden.name: golden for golden in ALL if golden.name != "nothing"}
REFUSALS = {"DeltaCorrupt", "UnknownFormat", "ResultMismatch", "BaseModified"}


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    found = {}
    for name, golden in BY_NAME.items():
        base, result = golden.images()
        found[name] = Bench(tmp_path_factory.mktemp(name), base, result, golden.delta)
    return found


class Watched:
    """Reads of the base and writes to the target, each of which must be inside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
        self._base, self._length = bench.base.stat().st_size, bench.wanted["length"]
        read, write = disk.read_base, os.pwrite
        monkeypatch.setattr("edgesync.delta.apply.read_base", self._reading(read))
        monkeypatch.setattr(os, "pwrite", self._writing(write))

    def _reading(self, read):
        def reading(fd, view, offset):
            assert 0 <= offset <= offset + len(view) <= self._base, "reads outside the base"
            return read(fd, view, offset)

        return reading

    def _writing(self, write):
        def writing(fd, data, offset):
            assert 0 <= offset <= offset + len(data) <= self._length, "writes outside the target"
            return write(fd, data, offset)

        return writing


def outcome(bench: Bench, blob: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the refusal, "" for the image; and both decoders say the same."""
    bench.blob.write_bytes(blob)
    found = []
    for plain in ("", "1"):
        with monkeypatch.context() as patch:
            patch.setenv(VARIABLE, plain)
            Watched(patch, bench)
            bench.target.write_bytes(b"")
            try:
                image = bench.apply()
            except EdgesyncError as error:
                found.append((error.name, str(error).partition(":")[0]))  # up to the field that it names
            else:
                assert len(image) == bench.wanted["length"]
                found.append(("", ""))
    assert found[0] == found[1], "with numpy and without it"
    return found[0][0]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_golden_delta_that_is_cut_anywhere_or_goes_on_is_refused_before_anything_is_written(
    benches: dict[str, Bench], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bench, delta = benches[name], BY_NAME[name].delta
    step = 1 if len(delta) < 1000 else 61
    monkeypatch.setenv(VARIABLE, "1")  # nothing of the decoders is reached
    for blob in [*(delta[:end] for end in range(0, len(delta), step)), delta + b"\0", delta + delta]:
        bench.blob.write_bytes(blob)
        bench.target.write_bytes(b"as before")
        with pytest.raises(EdgesyncError) as refused:
            bench.apply()
        assert refused.value.name == "DeltaCorrupt"
        assert bench.target.read_bytes() == b"as before"


@pytest.mark.parametrize("name", ["text", "words"])
def test_every_flipped_bit_of_a_small_delta_is_the_image_or_refused(
    benches: dict[str, Bench], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    delta, names = BY_NAME[name].delta, set()
    for bit in range(8 * len(delta)):
        broken = bytearray(delta)
        broken[bit // 8] ^= 1 << bit % 8
        names.add(outcome(benches[name], bytes(broken), monkeypatch))
    assert names <= REFUSALS | {""}


@settings(max_examples=150)
@given(st.sampled_from(sorted(BY_NAME)), st.data())
def test_any_damage_to_any_golden_delta_is_the_image_or_refused(
    benches: dict[str, Bench], monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    delta = bytearray(BY_NAME[name].delta)
    _, start = parse_header(bytes(delta))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(start, len(delta) - 1))
        kind = data.draw(st.sampled_from(["flip", "set", "insert", "delete"]))
        if kind == "flip":
            delta[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            delta[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "insert":
            delta[place:place] = data.draw(st.binary(min_size=1, max_size=4))
        elif len(delta) > start + 1:
            del delta[place]
    assert outcome(benches[name], bytes(delta), monkeypatch) in REFUSALS - {"BaseModified"} | {""}
