"""Whether the context-mixing coder is there, which nobody loads to find out, and whether a delta needs it."""

from __future__ import annotations

import asyncio
import sys
from typing import get_args

import numpy as np
import pytest
from delta_parts import Bench, delta_of, linked, opened, parts_of

import edgesync.delta
from edgesync.delta import api, mixing, request, segment, switch
from edgesync.delta.copies import Copies
from edgesync.delta.format import MIXED, SEGMENT, SegmentHeader, parse_header
from edgesync.delta.mixing import VARIABLE, available
from edgesync.wire.errors import DeltaCorruptError, EdgesyncError, UnknownFormatError


def only_in(directory, monkeypatch):
    """Look for the extension in this directory alone, as a process does that has not loaded it."""
    monkeypatch.setattr(edgesync.delta, "__path__", [str(directory)])
    monkeypatch.delitem(sys.modules, "edgesync.delta._mixing", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An extension that whoever loads it would notice."""
    (tmp_path / "_mixing.py").write_text("raise AssertionError('loaded')")
    only_in(tmp_path, monkeypatch)


@pytest.mark.usefixtures("installed")
def test_the_coder_is_there_where_its_extension_is_and_the_variable_is_not(monkeypatch):
    assert available()
    monkeypatch.setenv(VARIABLE, "1")
    assert not available()


def test_the_coder_is_not_there_without_its_extension(tmp_path, monkeypatch):
    only_in(tmp_path, monkeypatch)
    assert not available()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A directory with `old`, `new`, and the deltas `mixing` and `lzma` of a program whose functions have moved."""
    place = tmp_path_factory.mktemp("mixed")
    (place / "old").write_bytes(linked({}, 3000))
    (place / "new").write_bytes(linked({5: 3, 40: 7, 700: 2, 1500: 9, 2222: 4}, 3000))
    for coder in get_args(api.Coder):
        api.make(place / "old", place / "new", place / coder, coder=coder)
    return place


@pytest.mark.mixing
def test_a_delta_says_which_coder_it_needs_and_the_mixed_one_is_smaller(mixed):
    found = {coder: api.verify(mixed / "old", mixed / coder) for coder in get_args(api.Coder)}
    assert {coder: told.coder for coder, told in found.items()} == {"mixing": "mixing", "lzma": "lzma"}
    assert found["mixing"].length < found["lzma"].length
    assert found["mixing"].to_dict()["coder"] == "mixing"


@pytest.mark.mixing
def test_a_mixed_delta_is_refused_without_its_coder_before_anything_is_read_or_written(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    other = tmp_path / "other"
    other.write_bytes(b"an image that is not the base")
    with pytest.raises(UnknownFormatError, match="mixing: delta: only the context-mixing coder"):
        api.apply(other, mixed / "mixing", tmp_path / "built")
    assert list(tmp_path.iterdir()) == [other]
    assert api.info(mixed / "mixing").coder == "mixing"
    api.apply(mixed / "old", mixed / "lzma", tmp_path / "built")
    assert (tmp_path / "built").read_bytes() == (mixed / "new").read_bytes()


OLD, NEW = linked({}, 150), linked({3: 2, 70: 5, 120: 1}, 150)
PARTS = {"segments": (segment, "_mixed"), "tables": (mixing, "pack_table")}


def only(part, monkeypatch):
    """A delta between the two programs, mixed in this part alone."""
    with monkeypatch.context() as patch:
        for other in PARTS.keys() - {part}:
            patch.setattr(*PARTS[other], lambda *_: None)
        return delta_of(OLD, NEW, mixing=True)


@pytest.fixture(params=["", "1"], ids=["with numpy", "without numpy"])
def decoder(request, monkeypatch):
    """Each of the two decoders."""
    monkeypatch.setenv(switch.VARIABLE, request.param)


@pytest.mark.mixing
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.usefixtures("decoder")
def test_one_mixed_part_makes_a_delta_that_needs_the_coder(tmp_path, monkeypatch, part):
    bench = Bench(tmp_path, OLD, NEW, only(part, monkeypatch), before=b"as before")
    assert api.info(bench.blob).coder == "mixing"
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, "1")
        with pytest.raises(UnknownFormatError, match=r"delta: only the context-mixing coder.*--coder lzma"):
            bench.apply()
    assert bench.target.read_bytes() == b"as before"
    assert bench.apply() == NEW


@pytest.mark.mixing
def test_a_worker_refuses_a_mixed_delta_by_name_and_leaves_the_slot_as_it_was(tmp_path, monkeypatch):
    bench = Bench(tmp_path, OLD, NEW, delta_of(OLD, NEW, mixing=True), before=b"as before")
    monkeypatch.setenv(VARIABLE, "1")

    async def apply():
        with opened(bench.base) as base, opened(bench.blob) as blob, opened(bench.target) as target:
            await request.apply("delta", target=target, base=base, blob=blob, **bench.wanted)

    with pytest.raises(UnknownFormatError, match="delta: only the context-mixing coder unpacks it"):
        asyncio.run(apply())
    assert bench.target.read_bytes() == b"as before"


@pytest.fixture(scope="module")
def long_mixed():
    """An image of five segments and a bit, what it becomes, and the delta, in which all segments but the last are."""
    chance = np.random.default_rng(9)
    words = chance.choice(chance.integers(0, 1 << 32, 50, np.uint32), 5 * SEGMENT // 4)
    changed = words + np.uint32(0x1234) * (words == words[0])
    old, new = words.tobytes() + b"the end", changed.tobytes() + b"the end"
    whole = Copies(*(np.array([number]) for number in (0, 0, len(old))))
    return old, new, delta_of(old, new, whole, mixing=True)


@pytest.mark.mixing
@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("done", range(6))
def test_applying_that_was_cut_off_goes_on_in_the_mixed_segment_where_it_was(tmp_path, monkeypatch, long_mixed, done):
    old, new, blob = long_mixed
    forms = {head.number: head.form for _, _, head in parts_of(blob) if isinstance(head, SegmentHeader)}
    assert forms == dict.fromkeys(range(5), MIXED)
    half = new[: done * SEGMENT + SEGMENT // 2]
    bench = Bench(tmp_path, old, new, blob, before=half)
    unpacked, unpack = [], mixing.unpack_words
    monkeypatch.setattr(mixing, "unpack_words", lambda *given: unpacked.append(1) or unpack(*given))
    assert bench.apply() == new
    assert len(unpacked) == max(0, 5 - done)


def outcome(bench, blob, monkeypatch):
    """What both decoders make of a delta: "" for the image, or the name of the refusal and what it names."""
    found = []
    for plain in ("", "1"):
        with monkeypatch.context() as patch:
            patch.setenv(switch.VARIABLE, plain)
            bench.blob.write_bytes(blob)
            bench.target.write_bytes(b"")
            try:
                found.append("" if bench.apply() == NEW else "another image")
            except EdgesyncError as error:
                found.append(f"{error.name}: {str(error).partition(':')[0]}")
    assert found[0] == found[1], "with numpy and without it"
    return found[0]


@pytest.mark.mixing
def test_every_flipped_bit_of_a_mixed_delta_is_the_image_or_refused(tmp_path, monkeypatch):
    blob = delta_of(OLD, NEW, mixing=True)
    bench = Bench(tmp_path, OLD, NEW, blob)
    _, body = parse_header(blob)
    said = set()
    for bit in range(8 * body, 8 * len(blob)):
        broken = bytearray(blob)
        broken[bit // 8] ^= 1 << bit % 8
        said.add(outcome(bench, bytes(broken), monkeypatch).partition(":")[0])
    assert said <= {"", "DeltaCorrupt", "ResultMismatch", "UnknownFormat"}
    assert "DeltaCorrupt" in said


@pytest.mark.mixing
def test_a_mixed_delta_that_is_cut_off_or_goes_on_is_refused_before_anything_is_written(tmp_path):
    blob = delta_of(OLD, NEW, mixing=True)
    bench = Bench(tmp_path, OLD, NEW, blob, before=b"as before")
    for damaged in [*(blob[:end] for end in range(len(blob))), blob + b"\0", blob + blob]:
        bench.blob.write_bytes(damaged)
        with pytest.raises(DeltaCorruptError):
            bench.apply()
        assert bench.target.read_bytes() == b"as before"
