"""The rule that keeps a green run honest: where everything is required, a skip is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest
def test_asks(require): require("the part is not installed")
def test_skips_by_itself(): pytest.skip("by itself")
@pytest.mark.xfail(strict=True)
def test_expected_to_fail(): assert False
def test_passes(require): require("")
"""


@pytest.mark.parametrize(
    ("required", "summary"), [("1", "2 failed, 1 passed, 1 xfailed"), ("", "1 passed, 2 skipped, 1 xfailed")]
)
def test_a_skip_is_a_failure_only_where_everything_is_required(tmp_path: Path, required: str, summary: str) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(_TESTS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        # With CI set, pytest prints a long reason twice.
        env={**os.environ, "EDGESYNC_REQUIRE_ALL": required, "CI": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert summary in run.stdout.splitlines()[-1]
    assert run.stdout.count("the part is not installed") == 1
