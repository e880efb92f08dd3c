"""`edgesync init` as it is typed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edgesync.cli import init
from edgesync.wire.errors import ConfigError


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="edgesync")
    init.add_parser(parser.add_subparsers())
    args = parser.parse_args(["init", *words])
    status: int = args.func(args)
    return status


def test_it_writes_a_fleet_and_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lab = tmp_path / "lab"
    assert run(str(lab), "--boards", "2") == 0
    said = capsys.readouterr().out
    for line in ("mosquitto -c", "edgesync serve --config", "edgesync board run --root", "edgesync validate"):
        assert line in said
    named = [word.rstrip(".,;:") for word in said.replace("`", " ").split() if word.startswith(str(lab))]
    assert named
    assert all(Path(name).exists() for name in named), "every path that it names is there"


def test_it_refuses_a_directory_with_content(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="found something there"):
        run(str(tmp_path))
    assert (tmp_path / "file").read_text() == "mine"
