"""`edgesync validate` as it is typed: one line a problem, a summary, and an exit status that a script can use."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml

import edgesync
from edgesync.boards import profile
from edgesync.cli import validate
from edgesync.control.scaffold import Setup, write
from edgesync.wire.errors import ConfigError, NotReachableError

ROOT = Path(__file__).parents[2]


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
    spoil(lab / "fleet/fleet.yaml", "byte_budget: 100 MB", "byte_budget: 1")
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


# --- for other programs --------------------------------------------------------------------------------------------


def sarif(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_sarif_has_the_structure_that_its_specification_asks_for(lab: Path, capsys: pytest.CaptureFixture[str]):
    spoil(lab / "fleet/fleet.yaml", "byte_budget: 100 MB", "byte_budget: 1")
    spoil(lab / "fleet/boards/bench.yaml", "type: files", "type: fils")
    place = lab / "fleet/config/fleet/a b%.conf"
    place.parent.mkdir(parents=True)
    place.write_text("x")
    assert run(str(lab / "fleet"), "--sarif") == 1
    value = sarif(capsys)
    assert value["version"] == "2.1.0"
    assert value["$schema"].endswith("/sarif-schema-2.1.0.json")
    (only,) = value["runs"]
    driver = only["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("edgesync", edgesync.__version__)
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    assert only["invocations"] == [{"executionSuccessful": True}]
    assert len(only["results"]) == 5
    for result in only["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
        assert result["message"]["text"].startswith(("boards[", "byte_budget: found", "found a file that no layer has"))
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
        assert physical["region"]["startLine"] >= 1
    found = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in only["results"]}
    assert found == {"boards/bench.yaml", "config/fleet/a%20b%25.conf", "fleet.yaml"}
    keys = [result["locations"][0].get("logicalLocations") for result in only["results"]]
    assert keys[0] == [{"fullyQualifiedName": "boards[0].type", "kind": "member"}]


def test_sarif_of_a_valid_fleet_has_no_results(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(lab / "fleet"), "--sarif") == 0
    assert sarif(capsys)["runs"][0]["results"] == []


def test_sarif_says_that_a_check_could_not_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(tmp_path / "nowhere"), "--sarif", "--rev", "HEAD") == 1
    (invocation,) = sarif(capsys)["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    assert "no such directory" in invocation["toolExecutionNotifications"][0]["message"]["text"]


GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com")


def test_what_is_staged_is_checked_and_not_what_lies_there(lab: Path, capsys: pytest.CaptureFixture[str]):
    fleet = lab / "fleet"
    spoil(fleet / "fleet.yaml", "format: 1", "format: 9")
    assert run(str(fleet), "--staged") == 0
    subprocess.run([*GIT, "-C", str(fleet), "add", "--all"], check=True)
    spoil(fleet / "fleet.yaml", "format: 9", "format: 1")
    assert run(str(fleet)) == 0
    assert run(str(fleet), "--staged") == 1
    assert ": format: found '9'" in capsys.readouterr().out


@pytest.mark.parametrize("how", [["-m", "x"], ["-a", "-m", "x"], ["-m", "x", "--", "fleet.yaml"]])
def test_as_a_hook_of_git_it_stops_a_bad_commit_and_lets_a_good_one_pass(lab: Path, how: list[str]):
    fleet = lab / "fleet"
    hook = fleet / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nexec {sys.executable} -m edgesync.cli.main validate --staged\n")
    hook.chmod(0o755)
    spoil(fleet / "fleet.yaml", "lost_after: 1 h", "lost_after: 1")
    done = []
    for text in ("1", "2 h"):
        spoil(fleet / "fleet.yaml", "lost_after: 1", f"lost_after: {text}")
        if how == ["-m", "x"]:
            subprocess.run([*GIT, "-C", str(fleet), "add", "--all"], check=True)
        words = [*GIT, "-C", str(fleet), "commit", "--quiet", *how]
        done.append(subprocess.run(words, capture_output=True, text=True, check=False))
    bad, good = done
    assert (bad.returncode, good.returncode) == (1, 0)
    assert "lost_after: found '1'" in bad.stdout + bad.stderr


def test_a_conflict_of_a_merge_is_no_file_that_can_be_checked(lab: Path):
    fleet = lab / "fleet"
    entries = "".join(f"100644 {'1' * 40} {stage}\tfleet.yaml\n" for stage in (1, 2, 3))
    subprocess.run(["git", "-C", str(fleet), "update-index", "--index-info"], input=entries, text=True, check=True)
    with pytest.raises(ConfigError, match=r"fleet\.yaml: found a conflict of a merge"):
        run(str(fleet), "--staged")


def test_the_hook_for_the_pre_commit_framework_names_a_command_that_is_there():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {"id", "name", "entry", "language"} <= hook.keys()
    program, *words = hook["entry"].split()
    assert (program, hook["language"], hook["pass_filenames"]) == ("edgesync", "python", False)
    parser = argparse.ArgumentParser()
    validate.add_parser(parser.add_subparsers())
    assert parser.parse_args(words).rev == ":"
    extra = hook["additional_dependencies"][0].removeprefix(".[").removesuffix("]")
    assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for path, wanted in {"fleet.yaml": True, "config/x": True, "boards/a/b.yaml": True, "README.md": False}.items():
        assert bool(re.search(hook["files"], path)) == wanted


def test_board_types_beside_the_repository_are_found(lab: Path, capsys: pytest.CaptureFixture[str]):
    spoil(lab / "fleet/boards/bench.yaml", "type: files", "type: gateway")
    assert run(str(lab / "fleet")) == 1
    (lab / "profiles").mkdir()
    text = Path(profile.__file__).with_name("files.toml").read_text()
    (lab / "profiles/gateway.toml").write_text(text)
    spoil(lab / "fleet/releases/v1.yaml", "compatible: [files]", "compatible: [gateway]")
    assert run(str(lab / "fleet")) == 0
    (lab / "profiles").rename(lab / "elsewhere")
    assert run(str(lab / "fleet"), "--profiles", str(lab / "elsewhere")) == 0


def test_who_names_a_command_of_a_type_without_any_is_told_where_types_are_looked_for(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    (lab / "fleet/config/fleet").mkdir(parents=True)
    (lab / "fleet/config/fleet/config.yaml").write_text("check: [app-check]\n")
    assert run(str(lab / "fleet")) == 1
    assert "(it has none; your own board types are read from `profiles`)" in capsys.readouterr().out


def test_config_is_counted_with_its_largest_bundle(lab: Path, capsys: pytest.CaptureFixture[str]):
    place = lab / "fleet/config/fleet/files/app/a"
    place.parent.mkdir(parents=True)
    place.write_text("x")
    assert run(str(lab / "fleet")) == 0
    assert re.search(r"no problems; config for 3 boards, at most \d+ bytes\n$", capsys.readouterr().out)


def test_config_that_waits_for_firmware_that_nobody_sends_is_noted_and_no_problem(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    place = lab / "fleet/config/groups/canary/config.yaml"
    place.parent.mkdir(parents=True)
    place.write_text("requires: firmware >= 1\n")
    assert run(str(lab / "fleet")) == 0
    assert "note:" not in capsys.readouterr().out
    place.write_text("requires: firmware > 1\n")
    assert run(str(lab / "fleet")) == 0
    assert (
        "note: config of board b01: requires firmware > 1, and waits, because its release v1 brings version 1\n"
        in capsys.readouterr().out
    )


def test_a_budget_that_does_not_last_for_staying_connected_is_noted_and_no_problem(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    place = lab / "fleet/fleet.yaml"
    spoil(place, "byte_budget: 100 MB", "byte_budget: 1 MB")
    assert run(str(lab / "fleet")) == 0
    assert "note: byte_budget of board b01 and 2 more: 1,000,000 bytes a month" in capsys.readouterr().out
    spoil(place, "byte_budget: 1 MB", "byte_budget: 1 MB\nmanners: {check_in: 6 h}")
    assert run(str(lab / "fleet")) == 0
    assert "note:" not in capsys.readouterr().out
