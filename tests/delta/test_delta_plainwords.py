"""The decoder without numpy: for any delta, whole or damaged, the same image or the same refusal as the other one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from delta_parts import Bench, delta_of, firmware, linked, parts_of, rebuilt
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta.switch import VARIABLE, is_plain
from edgesync.wire.errors import EdgesyncError

OLD, NEW = linked({}, 60), linked({3: 2, 20: 5, 41: 1}, 60)
CODE = delta_of(OLD, NEW)
BODY = next(iter(parts_of(CODE)))[1]


def both(bench, monkeypatch):
    """What either decoder makes of a delta: the image, or its error's name and the field that it names."""
    outcomes = []
    for plain in (False, True):
        with monkeypatch.context() as patch:
            patch.delenv(VARIABLE, raising=False)
            if plain:
                patch.setenv(VARIABLE, "1")
            bench.target.write_bytes(b"")
            try:
                outcomes.append(bench.apply())
            except EdgesyncError as error:
                outcomes.append((error.name, str(error).partition(":")[0]))
    return outcomes


@pytest.mark.parametrize("count", [60, 3000])
def test_a_program_that_moved_is_the_same_image_either_way(tmp_path, monkeypatch, count):
    old, new = linked({}, count), linked({5: 3, 40: 7}, count)
    assert both(Bench(tmp_path, old, new, delta_of(old, new)), monkeypatch) == [new, new]


@given(st.integers(0, 1 << 32), st.integers(1, 6000))
def test_words_that_mean_nothing_are_the_same_image_either_way(tmp_path, monkeypatch, seed, size):
    old = firmware(seed, size)
    new = rebuilt(seed + 1, old) + random.Random(seed).randbytes(seed % 4)
    assert both(Bench(tmp_path, old, new, delta_of(old, new)), monkeypatch) == [new, new]


@given(st.data())
def test_a_damaged_delta_is_refused_for_the_same_field_either_way(tmp_path, monkeypatch, data):
    broken = bytearray(CODE)
    for bit in data.draw(st.lists(st.integers(8 * BODY, 8 * len(CODE) - 1), min_size=1, max_size=3)):
        broken[bit // 8] ^= 1 << bit % 8
    with_numpy, without = both(Bench(tmp_path, OLD, NEW, bytes(broken)), monkeypatch)
    assert with_numpy == without


def test_the_switch_is_a_variable_or_an_installation_without_numpy(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not is_plain()
    monkeypatch.setenv(VARIABLE, "1")
    assert is_plain()
    code = "import sys; from edgesync.delta.switch import is_plain; print(is_plain())"
    alone = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert alone.stdout.strip() == "True"


def test_a_delta_of_words_is_applied_where_there_is_no_numpy_at_all(tmp_path):
    bench = Bench(tmp_path, OLD, NEW, CODE)
    code = """
import os, sys
from edgesync.delta.apply import apply_delta
base, blob, target = (os.open(path, os.O_RDWR) for path in sys.argv[1:4])
apply_delta(base, blob, target, base_sha256=sys.argv[4], length=int(sys.argv[5]), sha256=sys.argv[6],
            progress=lambda done, total: None)
assert "numpy" not in sys.modules
"""
    wanted = bench.wanted
    subprocess.run(
        [
            *(sys.executable, "-S", "-c", code),
            *map(str, (bench.base, bench.blob, bench.target)),
            *(wanted["base_sha256"], str(wanted["length"]), wanted["sha256"]),
        ],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
        check=True,
    )
    assert bench.target.read_bytes() == NEW
