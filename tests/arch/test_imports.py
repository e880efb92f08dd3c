"""The architecture as tests: layers hold, packages import nothing, and the resident agent stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESIDENT_PARTY = {"paho", "tomli"}
"""Third-party packages that may be in the memory of the agent: all else belongs into workers."""

LOADED = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def packages() -> list[Path]:
    return sorted(path for top in ("edgesync", "collector_ext") for path in (ROOT / top).rglob("__init__.py"))


def agent_modules() -> list[str]:
    """What the resident process may load: the agent's package, its boards, and its command."""
    inside = [
        f"edgesync.{path.parent.name}.{path.stem}"
        for p in ("agent", "boards")
        for path in ROOT.glob(f"edgesync/{p}/*.py")
    ]
    # The played boot loader and power supply are not on a board.
    played = {"edgesync.boards.bootloader", "edgesync.boards.supervisor"}
    commands = [name for name in ("edgesync.cli.main", "edgesync.cli.agent") if find_spec(name)]
    return sorted(name for name in inside if not name.endswith("__init__") and name not in played) + commands


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", packages(), ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_package_states_its_rule_and_imports_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path}: the docstring states the package's rule"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_resident_agent_loads_nothing_heavy() -> None:
    modules = agent_modules()
    run = subprocess.run([sys.executable, "-c", LOADED, *modules], capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout)) - sys.stdlib_module_names - {"edgesync", "__main__"}
    assert loaded <= RESIDENT_PARTY, f"{sorted(loaded - RESIDENT_PARTY)} came in through one of {modules}"


@pytest.mark.parametrize("module", agent_modules())
def test_importing_an_agent_module_starts_nothing(module: str) -> None:
    code = (
        f"import sys, threading, {module}; sys.exit(threading.active_count() != 1 or 'edgesync.control' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
