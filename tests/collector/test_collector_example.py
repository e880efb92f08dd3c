"""A component that is written outside the repository: installed elsewhere, found, and held to the same contract."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example installed, as `pip install --target` does."""
    source, target = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("target")
    shutil.copytree(HERE / "example_component", source, ignore=shutil.ignore_patterns("__pycache__"))
    command = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--python", sys.executable, "--target", target, source], check=True, timeout=120)
    return target


def run(elsewhere: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(elsewhere), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_collector_finds_it_among_its_own(elsewhere: Path) -> None:
    found = json.loads(run(elsewhere, "-m", "collector_ext.main", "components", "--json").stdout)
    uptime = {one["type"]: one for one in found["receivers"]}["uptime"]
    assert uptime["signals"] == ["metrics"]
    assert uptime["default_config"]["collection_interval"] == 60.0
    assert "uptime" not in run(HERE, "-m", "collector_ext.main", "components").stdout


def test_its_own_tests_pass_where_it_is_installed(elsewhere: Path, tmp_path: Path) -> None:
    shutil.copy(HERE / "example_component" / "test_example_uptime.py", tmp_path)
    tests = run(elsewhere, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "4 passed" in tests.stdout
