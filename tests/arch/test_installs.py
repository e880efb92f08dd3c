"""The agent installs alone, on every Python that boards have, from the locked dependencies and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.delta.golden import ALL

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
LOCKS = ("agent.txt", "agent-plain.txt", "dev.txt", "bench.txt", "fuzz.txt")
OWN_LOCK = ("bench", "fuzz")
"""Extras that have a lock of their own: they are installed only where they are asked for."""


def interpreter(version: str) -> str | None:
    """A Python of this version that really runs: on PATH, or one that pyenv keeps."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for candidate in filter(None, candidates):
        asked = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        run = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
        if run.stdout.strip() == version:
            return str(candidate)
    return None


def uv(require: Callable[[str], None], *arguments: str) -> None:
    run = subprocess.run([UV, *arguments, "--quiet"], capture_output=True, text=True, check=False, timeout=240)
    if "error sending request" in run.stderr or "dns error" in run.stderr:
        require(f"the package index cannot be reached: {run.stderr[-300:]}")
    assert run.returncode == 0, run.stderr


def build(directory: Path, **variables: str) -> Path:
    """edgesync as a wheel, built from a copy of the tree, for building leaves files behind."""
    source = directory / "source"
    for name in ("edgesync", "collector_ext"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, str(source)]
    env = {**os.environ, **variables}
    run = subprocess.run(
        [*command, "--out-dir", str(source / "dist")], capture_output=True, text=True, check=False, env=env
    )
    assert run.returncode == 0, run.stderr
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def members(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if "mixing" in name}


@pytest.mark.mixing
def test_one_wheel_holds_the_extension_for_all_pythons_and_none_of_its_sources(wheel: Path) -> None:
    assert "-cp310-abi3-" in wheel.name
    extension = "edgesync/delta/_mixing.abi3.so"
    assert members(wheel) == {"edgesync/delta/mixing.py", "edgesync/delta/_mixing.pyi", extension}


@pytest.mark.parametrize("without", [{"CC": "/bin/false"}, {"EDGESYNC_UNMIXED": "1"}], ids=["compiler", "wish"])
def test_a_wheel_without_the_extension_is_one_for_every_machine(without: dict[str, str], tmp_path: Path) -> None:
    plain = build(tmp_path, **without)
    assert plain.name.endswith("-py3-none-any.whl")
    assert members(plain) == {"edgesync/delta/mixing.py", "edgesync/delta/_mixing.pyi"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_locked_dependency_of_the_agent_has_a_wheel_for_an_arm_board(
    version: str, tmp_path: Path, require: Callable[[str], None]
) -> None:
    where = ["--target", str(tmp_path), "--python-version", version, "--python-platform", "aarch64-unknown-linux-gnu"]
    lock = ["--only-binary", ":all:", "--require-hashes", "--requirement", str(ROOT / "requirements" / "agent.txt")]
    uv(require, "pip", "install", "--dry-run", *where, *lock)


@pytest.mark.parametrize("version", [version for version in VERSIONS if interpreter(version)])
def test_the_agent_installs_alone_and_explains_itself(
    version: str, wheel: Path, tmp_path: Path, require: Callable[[str], None]
) -> None:
    python = str(tmp_path / "bin" / "python")
    uv(require, "venv", "--python", interpreter(version) or "", "--no-python-downloads", str(tmp_path))
    lock = str(ROOT / "requirements" / "agent.txt")
    uv(
        require,
        "pip",
        "install",
        "--python",
        python,
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--requirement",
        lock,
    )
    uv(require, "pip", "install", "--python", python, "--no-deps", str(wheel))
    uv(require, "pip", "check", "--python", python)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(tmp_path / "bin" / "edgesync"), "agent", "--help"]
    run = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "--config" in run.stdout
    modules = " ".join(f"import {module};" for module in ("edgesync.delta.worker", "edgesync.trust.worker"))
    subprocess.run([python, "-W", "error", "-c", modules], cwd=tmp_path, env=clean, check=True, timeout=60)
    if "edgesync/delta/_mixing.abi3.so" in members(wheel):
        subprocess.run(
            [python, "-W", "error", "-c", "import edgesync.delta._mixing"], env=clean, check=True, timeout=60
        )


def test_without_numpy_the_agent_installs_too_and_applies_deltas_of_words(
    wheel: Path, tmp_path: Path, require: Callable[[str], None]
) -> None:
    home, place = tmp_path / "agent", tmp_path / "place"
    python, lock = str(home / "bin" / "python"), str(ROOT / "requirements" / "agent-plain.txt")
    uv(require, "venv", "--python", sys.executable, "--no-python-downloads", str(home))
    install = ["pip", "install", "--python", python]
    uv(require, *install, "--only-binary", ":all:", "--require-hashes", "--requirement", lock)
    uv(require, *install, "--no-deps", str(wheel))
    golden = next(golden for golden in ALL if golden.name == "program")
    place.mkdir()
    for name, data in zip(("base", "wanted", "delta"), (*golden.images(), golden.delta), strict=True):
        (place / name).write_bytes(data)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(home / "bin" / "edgesync"), "delta", "apply", "base", "delta", "-o", "built"]
    run = subprocess.run(command, cwd=place, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert (place / "built").read_bytes() == (place / "wanted").read_bytes()
    says = "from edgesync.delta.switch import is_plain; import edgesync.agent.runner; raise SystemExit(not is_plain())"
    subprocess.run([python, "-c", says], cwd=place, env=clean, check=True, timeout=60)


def test_what_is_installed_makes_reports_without_a_clone(
    wheel: Path, tmp_path: Path, require: Callable[[str], None]
) -> None:
    home, place = tmp_path / "installed", tmp_path / "place"
    place.mkdir()
    uv(require, "pip", "install", "--python", sys.executable, "--no-deps", "--target", str(home), str(wheel))
    assert (home / "collector_ext/analysis/rollout.ipynb").read_bytes() == (
        ROOT / "notebooks/rollout.ipynb"
    ).read_bytes()
    env = {**os.environ, "PYTHONPATH": str(home)}  # before the clone, which this Python knows too
    command = [sys.executable, "-m", "edgesync.cli.main", "report", "r-000042", "--lake", str(ROOT / "notebooks/data")]
    run = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert run.returncode == 0, run.stderr
    assert "acme.gate-03" in (place / "r-000042.html").read_text()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_dependency_with_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text
    assert "index" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_the_locks_hold_what_the_project_asks_for() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    common = [item for name, extra in extras.items() if name not in OWN_LOCK for item in extra]
    own = {f"{name}.txt": [*project["dependencies"], *extras[name]] for name in OWN_LOCK}
    agent = project["dependencies"]
    plain = [item for item in agent if not item.startswith("numpy")]
    wanted_by = {"agent.txt": agent, "agent-plain.txt": plain, "dev.txt": [*project["dependencies"], *common], **own}
    for lock, asked in wanted_by.items():
        pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))
        wanted = {
            re.match(r"[A-Za-z0-9-]+", item)[0].lower() for item in asked if "< '3.11'" not in item or lock in LOCKS[:2]
        }
        assert wanted <= pinned, f"{lock} lacks {sorted(wanted - pinned)}; run `make lock`"
