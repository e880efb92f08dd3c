"""One round of `make fuzz-mixing`: the C of the mixing coder, without warnings, under the sanitizers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import mixing


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], None]) -> Path:
    require(mixing.missing())
    return mixing.build(tmp_path_factory.mktemp("sanitized"))


def test_no_damaged_stream_makes_the_extension_leave_its_memory_or_its_numbers(built: Path):
    command, env = mixing.command(built, 0, 7)
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split()[1:3] == ["streams", "refused,"]


def test_the_sanitizers_see_what_would_be_wrong(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for source in mixing.SOURCES.iterdir():
        (tmp_path / source.name).write_text(source.read_text().replace("at < coder->size", "at <= coder->size"))
    monkeypatch.setattr(mixing, "SOURCES", tmp_path)
    command, env = mixing.command(mixing.build(tmp_path / "wrong"), 0, 7)
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert run.returncode != 0
    assert "heap-buffer-overflow" in run.stderr
