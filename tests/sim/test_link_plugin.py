"""The pytest plugin as a user's project meets it."""

from __future__ import annotations

import os
import subprocess
import sys

USES_NET = "def test_one(link_net):\n    pass\n"
NOT_ROOT = "import os\nos.geteuid = lambda: 1000\n"


def run_pytest(folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "EDGESYNC_REQUIRE_ALL"} | environment,
    )


def test_importing_the_plugin_imports_nothing_else_of_edgesync():
    code = (
        "import sys, pytest; before = set(sys.modules); import edgesync.sim.plugin; print(*set(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(out.split()) <= {"edgesync", "edgesync.sim", "edgesync.sim.plugin"}


def test_a_test_that_needs_root_is_skipped_with_the_reason_or_fails_where_all_are_required(tmp_path):
    (tmp_path / "conftest.py").write_text(NOT_ROOT)
    (tmp_path / "test_it.py").write_text(USES_NET)
    skipped = run_pytest(tmp_path)
    assert skipped.returncode == 0
    assert "emulated links need root" in skipped.stdout
    failed = run_pytest(tmp_path, EDGESYNC_REQUIRE_ALL="1")
    assert failed.returncode == 1
    assert "EDGESYNC_REQUIRE_ALL=1, but emulated links need root" in failed.stdout
