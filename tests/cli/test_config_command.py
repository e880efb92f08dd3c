"""`edgesync config` as it is typed: what a board will get."""

from __future__ import annotations

import argparse
import json
import stat
from pathlib import Path

import pytest

from edgesync.cli import config
from edgesync.control.scaffold import Setup, write
from edgesync.wire.errors import ConfigError, StorageError


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    write(tmp_path / "lab", Setup(), 1_800_000_000.0)
    place = tmp_path / "lab/fleet"
    for name, text in {
        "fleet/config.yaml": 'drift: report\nmodes: {app/site.conf: "0600"}\n',
        "fleet/files/app/site.conf.j2": "{{ labels.site }} {{ board }}\n",
        "groups/canary/files/app/run": "#!/bin/sh\n",
    }.items():
        (place / "config" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "config" / name).write_text(text)
    (place / "config/groups/canary/files/app/run").chmod(0o755)
    return place


def run(fleet: Path, *words: str) -> int:
    parser = argparse.ArgumentParser(prog="edgesync")
    config.add_parser(parser.add_subparsers())
    args = parser.parse_args(["config", "-C", str(fleet), *words])
    status: int = args.func(args)
    return status


def test_files_and_settings_of_a_board_are_listed(fleet: Path, capsys: pytest.CaptureFixture[str]):
    assert run(fleet, "b01") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "0755        10  app/run        config/groups/canary/files/app/run",
        "0600        10  app/site.conf  config/fleet/files/app/site.conf.j2",
        "",
        "drift: report",
    ]
    assert lines[4].startswith("bundle ")
    assert run(fleet, "demo.b02") == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "0600",
        "10",
        "app/site.conf",
        "config/fleet/files/app/site.conf.j2",
    ]


def test_one_file_is_printed_as_it_is(fleet: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    assert run(fleet, "b03", "app/site.conf") == 0
    assert capfdbinary.readouterr().out == b"bench b03\n"


def test_the_tree_is_written_with_its_modes_and_never_over_something(fleet: Path, tmp_path: Path):
    assert run(fleet, "b01", "-o", str(tmp_path / "tree")) == 0
    found = {
        str(path.relative_to(tmp_path / "tree")): path for path in (tmp_path / "tree").rglob("*") if path.is_file()
    }
    assert {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()} == {
        "app/run": 0o755,
        "app/site.conf": 0o600,
    }
    assert found["app/site.conf"].read_text() == "bench b01\n"
    with pytest.raises(StorageError, match="File exists"):
        run(fleet, "b01", "-o", str(tmp_path / "tree"))


def test_json_has_the_digests_of_bundle_and_files(fleet: Path, capsys: pytest.CaptureFixture[str]):
    assert run(fleet, "b02", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["settings"] == {
        "check": [],
        "reload": [],
        "probe": [],
        "probe_seconds": 0,
        "drift": "report",
        "requires": "",
    }
    assert [(file["path"], file["mode"], file["size"]) for file in value["files"]] == [("app/site.conf", "0600", 10)]
    assert value["files"][0]["source"] == "config/fleet/files/app/site.conf.j2"
    assert len(value["sha256"]) == len(value["files"][0]["sha256"]) == 64


def test_a_commit_is_shown_as_it_is(fleet: Path):
    with pytest.raises(ConfigError, match="board b01: no layer of config/ is for it"):
        run(fleet, "b01", "--rev", "HEAD")


def test_a_board_and_a_file_that_are_not_there_are_named(fleet: Path):
    with pytest.raises(ConfigError, match=r"found 'c01', expected a board of fleet demo; did you mean 'b01'\?"):
        run(fleet, "c01")
    with pytest.raises(ConfigError, match=r"app/x: no such file in the config of b02, which has app/site\.conf"):
        run(fleet, "b02", "app/x")


def test_an_invalid_fleet_is_named_with_its_problems(fleet: Path, capsys: pytest.CaptureFixture[str]):
    (fleet / "config/fleet/files/app/site.conf.j2").write_text("{{ labels.rack }}")
    assert run(fleet, "b01") == 1
    assert "site.conf.j2:1: found no label 'rack' for board b01 and 2 more" in capsys.readouterr().err
