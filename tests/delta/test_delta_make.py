"""Making a delta: it is small, it is proved before it appears, and whatever fails leaves the old file alone."""

import itertools
import json
import os
import signal
import subprocess
import sys

import bsdiff4
import pytest
from delta_parts import Bench, firmware, linked, rebuilt
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import align, chapter, make, segment
from edgesync.wire.errors import ConfigError, ResultMismatchError, StorageError
from edgesync.wire.ids import digest_of

OLD = firmware(31, 300_000)
NEW = rebuilt(32, OLD)


@pytest.fixture
def paths(tmp_path):
    """Base, result and output; an older output is there."""
    for name, data in (("base", OLD), ("result", NEW), ("out", b"an older delta")):
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / name) for name in ("base", "result", "out")]


def command(paths):
    return [sys.executable, "-m", "edgesync.delta.make", *paths]


@given(st.binary(max_size=120), st.binary(max_size=120))
def test_the_alignment_covers_only_what_is_in_both_images(base, result):
    copies = align.align(base, result)
    assert (copies.at >= 0).all()
    assert (copies.base >= 0).all()
    assert (copies.at + copies.length <= len(result)).all()
    assert (copies.base + copies.length <= len(base)).all()
    assert (copies.at[1:] >= (copies.at + copies.length)[:-1]).all()


def test_a_delta_of_a_program_that_moved_is_a_tenth_of_what_bsdiff_makes_it(tmp_path):
    old, new = linked({}), linked({500: 3, 1700: 9})
    for name, data in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(data)
    info = make.make_delta(str(tmp_path / "old"), str(tmp_path / "new"), str(tmp_path / "out"))
    assert Bench(tmp_path, old, new, (tmp_path / "out").read_bytes()).apply() == new
    assert info.length < 0.1 * len(bsdiff4.diff(old, new))


def test_a_delta_tells_what_it_is_and_how_far_it_was(paths, tmp_path):
    phases = []
    info = make.make_delta(*paths, lambda *step: phases.append(step))
    delta = (tmp_path / "out").read_bytes()
    assert Bench(tmp_path, OLD, NEW, delta).apply() == NEW
    assert info == make.DeltaInfo(len(delta), len(OLD), digest_of(OLD), len(NEW), digest_of(NEW))
    assert [phase for phase, _ in itertools.groupby(phase for phase, *_ in phases)] == [
        "read",
        "align",
        "encode",
        "verify",
    ]


def test_an_image_that_did_not_change_costs_almost_nothing(tmp_path, paths):
    assert make.make_delta(paths[0], paths[0], paths[2]).length <= 36


def test_the_same_images_give_the_same_delta(paths, tmp_path):
    make.make_delta(*paths)
    first = (tmp_path / "out").read_bytes()
    make.make_delta(*paths)
    assert (tmp_path / "out").read_bytes() == first


def test_a_delta_that_does_not_give_the_result_never_appears(paths, tmp_path, monkeypatch):
    encode = segment.encode
    monkeypatch.setattr(
        segment, "encode", lambda copies, part, *rest, **how: encode(copies, part[:-1] + b"?", *rest, **how)
    )
    with pytest.raises(ResultMismatchError):
        make.make_delta(*paths)
    assert (tmp_path / "out").read_bytes() == b"an older delta"
    assert sorted(os.listdir(tmp_path)) == ["base", "out", "result"]


@pytest.mark.parametrize("mixing", [False, True])
def test_every_chapter_and_segment_is_asked_for_the_coder_that_the_delta_is_asked_for(paths, monkeypatch, mixing):
    asked = []
    for module in (segment, chapter):

        def encode(*arguments, mixing, encode=module.encode):
            asked.append(mixing)
            return encode(*arguments)

        monkeypatch.setattr(module, "encode", encode)
    make.make_delta(*paths, mixing=mixing)
    assert len(asked) >= 2
    assert set(asked) == {mixing}


def test_an_image_too_long_for_the_format_is_named(paths, monkeypatch):
    monkeypatch.setattr(make, "LENGTH_LIMIT", len(NEW) - 1)
    with pytest.raises(ConfigError, match=r"result: \d+ bytes, expected at most \d+ in an image"):
        make.make_delta(*paths)


def test_a_directory_that_is_missing_is_a_named_error(paths, tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        make.make_delta(paths[0], paths[1], str(tmp_path / "nowhere" / "out"))


def test_the_command_says_how_far_it_is_and_what_it_made(paths, tmp_path):
    lines = [json.loads(line) for line in subprocess.check_output(command(paths), text=True).splitlines()]
    told = [phase for phase, _ in itertools.groupby(line["phase"] for line in lines[:-1])]
    assert told == ["read", "align", "encode", "verify"]
    assert lines[-1]["reply"]["length"] == (tmp_path / "out").stat().st_size
    assert lines[-1]["reply"]["result_sha256"] == digest_of(NEW)


def test_the_command_names_its_error_and_fails(paths):
    done = subprocess.run(command([paths[0] + "?", *paths[1:]]), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["error"] == "Storage"


def test_the_command_has_a_help_that_names_its_paths():
    text = subprocess.check_output(command(["--help"]), text=True)
    assert "BASE RESULT OUT" in text


def test_a_command_killed_on_the_way_leaves_the_old_delta(paths, tmp_path):
    (tmp_path / "base").write_bytes(firmware(33, 3 << 20))
    (tmp_path / "result").write_bytes(rebuilt(34, firmware(33, 3 << 20)))
    with subprocess.Popen(command(paths), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line).get("phase") == "encode":
                child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert (tmp_path / "out").read_bytes() == b"an older delta"
    subprocess.run(command(paths), check=True, stdout=subprocess.DEVNULL)
    assert not os.path.exists(paths[2] + ".tmp")
    assert (tmp_path / "out").read_bytes() != b"an older delta"
