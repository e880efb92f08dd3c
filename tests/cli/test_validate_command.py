"""`edgesync validate` as it is typed: one line a problem, a summary, and an exit status that a script can use."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import pytest

from edgesync.cli import validate
from edgesync.control.scaffold import Setup, write
from edgesync.wire.errors import NotReachableError


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = tmp_path / "built.img"
    image.write_bytes(b"firmware" * 1000)
    write(tmp_path / "lab", Setup(image=image), 1_800_000_000.0)
    return tmp_path / "lab"


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="edgesync")
    validate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["validate", *words])
    status: int = args.func(args)
    return status


def spoil(place: Path, old: str, new: str) -> None:
    text = place.read_text()
    assert old in text
    place.write_text(text.replace(old, new))


def test_a_valid_fleet_is_counted_and_gives_status_0(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(lab / "fleet")) == 0
    assert capsys.readouterr().out == "fleet demo: 3 boards, 1 release, 2 waves: no problems\n"


def test_each_problem_is_one_line_and_gives_status_1(lab: Path, capsys: pytest.CaptureFixture[str]):
    spoil(lab / "fleet/fleet.yaml", "byte_budget: 1 MB", "byte_budget: 1")
    spoil(lab / "fleet/boards/bench.yaml", "type: files", "type: fils")
    assert run(str(lab / "fleet")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines[:3]] == [f"boards/bench.yaml:{line}:" for line in (5, 9, 13)]
    assert lines[3].startswith("fleet.yaml:")
    assert "found '1', expected a number and a unit" in lines[3]
    assert lines[4].startswith("4 problems")


def test_a_commit_is_checked_as_it_is_and_not_as_the_working_tree_is(lab: Path):
    spoil(lab / "fleet/fleet.yaml", "format: 1", "format: 9")
    assert run(str(lab / "fleet"), "--rev", "HEAD") == 0
    assert run(str(lab / "fleet")) == 1


def test_a_wrong_and_a_missing_image_are_problems(lab: Path, capsys: pytest.CaptureFixture[str]):
    image = lab / "images/firmware-v1.img"
    image.write_bytes(b"other")
    assert run(str(lab / "fleet")) == 1
    assert "releases/v1.yaml:5: images.firmware.sha256: found" in capsys.readouterr().out
    image.unlink()
    assert run(str(lab / "fleet")) == 1
    assert "images.firmware.path: found no file 'firmware-v1.img'" in capsys.readouterr().out


def test_images_that_are_nowhere_to_be_found_are_said_to_be_unchecked(lab: Path, capsys: pytest.CaptureFixture[str]):
    (lab / "images").rename(lab / "elsewhere")
    assert run(str(lab / "fleet")) == 0
    assert "images not checked" in capsys.readouterr().out
    assert run(str(lab / "fleet"), "--images", str(lab / "elsewhere")) == 0
    assert "not checked" not in capsys.readouterr().out


def test_a_bare_repository_is_checked_at_its_head(lab: Path, tmp_path: Path):
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(lab / "fleet"), str(bare)], check=True)
    assert run(str(bare), "--images", str(lab / "images")) == 0


def test_json_has_the_problems_as_values(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(lab / "fleet"), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["fleet"], value["boards"], value["releases"], value["problems"]) == ("demo", 3, ["v1"], [])
    spoil(lab / "fleet/fleet.yaml", "format: 1", "format: 9")
    assert run(str(lab / "fleet"), "--json") == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["file"], problem["key"], problem["found"]) == ("fleet.yaml", "format", "'9'")


def test_a_place_without_a_fleet_says_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(tmp_path)) == 1
    assert "`edgesync init` writes one" in capsys.readouterr().out
    with pytest.raises(NotReachableError):
        run(str(tmp_path), "--rev", "HEAD")
