"""Images of any size: whatever became of the files and bytes in them, the delta gives exactly the result."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from delta_parts import Bench, descendants, firmware, gone, linked, rebuilt
from delta_trees import raw, small_scale, tar, trees
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.delta import make, survey
from edgesync.delta.crew import Crew
from edgesync.delta.pair import pair_of


def made(directory, old, new):
    for name, data in (("base", old), ("result", new)):
        (directory / name).write_bytes(data)
    return make.make_delta(*(str(directory / name) for name in ("base", "result", "out")))


def applied(directory, old, new):
    return Bench(directory, old, new, (directory / "out").read_bytes()).apply()


@given(trees(), st.sampled_from((raw, tar)))
def test_whatever_became_of_a_tree_the_delta_gives_the_new_one(tmp_path, pair, image):
    old, new = map(image, pair)
    with small_scale():
        made(tmp_path, old, new)
    assert applied(tmp_path, old, new) == new


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 5), max_size=9), st.binary(max_size=50))
@example([], [], b"")
def test_bytes_in_any_order_are_found_again(tmp_path, parts, order, more):
    old = b"".join(parts)
    new = b"".join(parts[number % len(parts)] if parts else b"" for number in order) + more
    with small_scale():
        made(tmp_path, old, new)
    assert applied(tmp_path, old, new) == new


@given(trees(), st.sampled_from((raw, tar)))
def test_copies_lie_inside_both_images_and_never_on_another(tmp_path, pair, image):
    old, new = map(image, pair)
    (tmp_path / "base").write_bytes(old)
    (tmp_path / "result").write_bytes(new)
    images = pair_of(str(tmp_path / "base"), str(tmp_path / "result"))
    with small_scale():
        copies = survey.survey(Crew(1), images, lambda *_: None).copies
    assert (copies.length > 0).all()
    assert (copies.at[1:] >= (copies.at + copies.length)[:-1]).all()
    assert copies.at.min(initial=0) >= 0
    assert copies.base.min(initial=0) >= 0
    assert (copies.at + copies.length).max(initial=0) <= len(new)
    assert (copies.base + copies.length).max(initial=0) <= len(old)


def test_an_image_whose_parts_changed_places_costs_almost_nothing(tmp_path):
    parts = [firmware(seed, 50_000) for seed in range(4)]
    old, new = b"".join(parts), b"".join(parts[number] for number in (2, 0, 3, 1))
    with small_scale():
        info = made(tmp_path, old, new)
    assert info.length < 700
    assert applied(tmp_path, old, new) == new


def test_programs_in_files_are_followed_as_in_an_image_of_their_own(tmp_path):
    data = firmware(1, 40_000)
    old = tar({"etc/data": data, "lib/a-1.so": linked({}), "lib/b.so": linked({7: 1}, 500)})
    new = tar({"etc/data": data, "lib/a-2.so": linked({500: 3, 1700: 9}), "lib/b.so": linked({7: 2, 90: 4}, 500)})
    whole = made(tmp_path, old, new)
    with small_scale(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgesync.delta.groups.WHOLE", 1 << 20)
        patch.setattr("edgesync.delta.groups.BATCH", 1 << 20)
        grouped = made(tmp_path, old, new)
    assert applied(tmp_path, old, new) == new
    assert grouped.length < 1.1 * whole.length


def test_progress_is_a_fraction_that_only_grows_in_each_phase(tmp_path):
    old = tar({str(number): firmware(number, 3000) for number in range(9)})
    new = tar({str(number): rebuilt(number, firmware(number, 3000)) for number in range(9)})
    for name, data in (("base", old), ("result", new)):
        (tmp_path / name).write_bytes(data)
    steps = []
    with small_scale():
        make.make_delta(*(str(tmp_path / name) for name in ("base", "result", "out")), lambda *step: steps.append(step))
    phases = [phase for phase, _ in itertools.groupby(phase for phase, *_ in steps)]
    assert phases == ["read", "hash", "align", "encode", "verify"]
    for phase in phases:
        done, total = np.array([step[1:] for step in steps if step[0] == phase]).T
        assert (np.diff(done) >= 0).all()
        assert (total == done[-1]).all()
    assert sum(phase == "align" for phase, *_ in steps) > 3


def test_one_process_or_three_make_the_same_delta(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "WHOLE", 0)
    old = tar({"data": firmware(1, 90_000), "a": firmware(2, 50_000), "b.so": linked({}, 500)})
    new = tar({"data": firmware(1, 90_000), "a": rebuilt(3, firmware(2, 50_000)), "b.so": linked({90: 4}, 500)})
    deltas = []
    for size in (1, 3):
        monkeypatch.setattr(make, "crew_for", lambda _, size=size: Crew(size))
        made(tmp_path, old, new)
        deltas.append((tmp_path / "out").read_bytes())
    assert deltas[0] == deltas[1]
    assert applied(tmp_path, old, new) == new


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_on_the_way_leaves_nothing(tmp_path, number):
    (tmp_path / "base").write_bytes(firmware(33, 8 << 20))
    (tmp_path / "result").write_bytes(rebuilt(34, firmware(33, 8 << 20)))
    directory = tmp_path / "out"
    directory.mkdir()
    command = [
        *(sys.executable, "-m", "edgesync.cli.main", "delta", "make", tmp_path / "base", tmp_path / "result"),
        *("-o", directory / "delta"),
    ]
    build = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(started := descendants(build.pid)) < 3:
        time.sleep(0.05)
        assert build.poll() is None
    os.killpg(build.pid, number)
    build.wait(timeout=60)
    assert gone(started)
    assert os.listdir(directory) == [] or number == signal.SIGKILL
