"""The Python API of deltas: whole files or none, named errors, and the examples of the manual."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.delta import api, child, mixing
from edgesync.wire.errors import (
    BaseModifiedError,
    BuildFailedError,
    DeltaCorruptError,
    EdgesyncError,
    NotReachableError,
    StorageError,
    UnknownFormatError,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `old`, `new` and `delta`."""
    place = tmp_path_factory.mktemp("pair")
    old = random.Random(1).randbytes(600_000)
    new = old[:300_000] + b"something new" + old[300_000:500_000] + b"!" + old[500_001:]
    (place / "old").write_bytes(old)
    (place / "new").write_bytes(new)
    api.make(place / "old", place / "new", place / "delta")
    return place


def test_what_is_made_applies_and_tells_what_it_is_for(pair: Path, tmp_path: Path):
    told = api.info(pair / "delta")
    assert api.apply(pair / "old", pair / "delta", tmp_path / "built") == told
    assert (tmp_path / "built").read_bytes() == (pair / "new").read_bytes()
    assert told == api.verify(pair / "old", pair / "delta")
    assert told.length == (pair / "delta").stat().st_size < 2000
    assert (told.base_length, told.result_length) == ((pair / "old").stat().st_size, (pair / "new").stat().st_size)


def asked(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coder: api.Coder | None) -> list[str]:
    """The options with which the child is started that makes the delta."""
    told: list[str] = []

    def follow(module: str, arguments: list[str], progress: api.Progress | None) -> object:
        told.extend(argument for argument in arguments if argument.startswith("--"))
        return child.follow(module, arguments, progress)

    with monkeypatch.context() as patch:
        patch.setattr(api, "follow", follow)
        api.make(pair / "old", pair / "new", tmp_path / "delta", coder=coder)
    assert api.verify(pair / "old", tmp_path / "delta").result_length == (pair / "new").stat().st_size
    return told


@pytest.mark.mixing
def test_a_delta_is_mixed_where_the_coder_is_there_unless_another_is_asked_for(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(mixing.VARIABLE, raising=False)
    cases: list[tuple[api.Coder | None, list[str]]] = [(None, ["--mixing"]), ("mixing", ["--mixing"]), ("lzma", [])]
    for coder, options in cases:
        assert asked(pair, tmp_path, monkeypatch, coder) == options


def test_without_the_coder_a_delta_is_for_every_board_and_a_mixed_one_is_refused_by_name(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(mixing.VARIABLE, "1")
    assert asked(pair, tmp_path, monkeypatch, None) == []
    (tmp_path / "delta").unlink()
    with pytest.raises(NotReachableError, match=mixing.VARIABLE):
        api.make(pair / "old", pair / "new", tmp_path / "delta", coder="mixing")
    assert not list(tmp_path.iterdir())


def test_a_directory_holds_nothing_more_after_a_delta_than_the_delta(pair: Path):
    assert sorted(path.name for path in pair.iterdir()) == ["delta", "new", "old"]


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_delta_never_leaves_a_file_and_always_a_named_error(pair: Path, data: st.DataObject):
    delta = bytearray((pair / "delta").read_bytes())
    at = data.draw(st.integers(0, len(delta) - 1))
    delta[at] ^= data.draw(st.integers(1, 255))
    place = pair / "damaged"
    place.mkdir(exist_ok=True)
    (place / "delta").write_bytes(delta[: data.draw(st.integers(0, len(delta)))])
    with pytest.raises(EdgesyncError) as caught:
        api.apply(pair / "old", place / "delta", place / "built")
    assert str(place / "delta") in str(caught.value) or str(pair / "old") in str(caught.value)
    (place / "delta").unlink()
    assert not list(place.iterdir())
    place.rmdir()


def test_the_file_that_was_there_stays_when_an_application_fails(pair: Path, tmp_path: Path):
    (tmp_path / "built").write_bytes(b"the image before")
    with pytest.raises(BaseModifiedError, match=re.escape(str(pair / "new"))):
        api.apply(pair / "new", pair / "delta", tmp_path / "built")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the image before"]


def test_an_image_can_take_the_place_of_its_own_base(pair: Path, tmp_path: Path):
    (tmp_path / "image").write_bytes((pair / "old").read_bytes())
    api.apply(tmp_path / "image", pair / "delta", tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == (pair / "new").read_bytes()


def test_another_version_and_other_files_are_told_apart(pair: Path, tmp_path: Path):
    delta = (pair / "delta").read_bytes()
    (tmp_path / "later").write_bytes(delta[:3] + b"9" + delta[4:])
    with pytest.raises(UnknownFormatError, match="later"):
        api.info(tmp_path / "later")
    (tmp_path / "other").write_bytes(b"not a delta")
    with pytest.raises(DeltaCorruptError, match="other"):
        api.info(tmp_path / "other")
    with pytest.raises(StorageError, match="absent"):
        api.info(tmp_path / "absent")


def test_a_missing_image_is_named_once_and_nothing_is_left(pair: Path, tmp_path: Path):
    with pytest.raises(StorageError, match="absent") as caught:
        api.make(pair / "old", tmp_path / "absent", tmp_path / "delta")
    assert str(caught.value).count("absent") == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_the_moment_in_which_the_file_appears_leaves_none(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    really, made = os.open, []

    def interrupted(path: str, flags: int, mode: int = 0o777) -> int:
        fd = really(path, flags, mode)
        if flags & os.O_CREAT:
            os.close(fd)
            made.extend(tmp_path.iterdir())
            raise KeyboardInterrupt
        return fd

    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.apply(pair / "old", pair / "delta", tmp_path / "built")
    assert len(made) == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_the_moment_in_which_a_delta_is_begun_leaves_nothing(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    really, made = os.mkdir, []

    def interrupted(path: str, mode: int = 0o777) -> None:
        really(path, mode)
        made.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.make(pair / "old", pair / "new", tmp_path / "delta")
    assert len(made) == 1
    assert not list(tmp_path.iterdir())


def test_progress_names_phases_and_never_exceeds_its_total(pair: Path, tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    api.make(pair / "old", pair / "new", tmp_path / "delta", lambda *step: seen.append(step))
    api.apply(pair / "old", tmp_path / "delta", tmp_path / "new", lambda *step: seen.append(step))
    assert {"align", "apply"} <= {phase for phase, _, _ in seen}
    assert all(0 <= done <= total for _, done, total in seen)


def test_a_child_that_dies_is_reported_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dying.py").write_text("raise SystemExit('out of patience')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', ROOT)}")
    with pytest.raises(BuildFailedError, match="status 1 and no reply; it said: out of patience"):
        child.follow("dying", [], None)


def test_a_child_and_its_helpers_end_with_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "stubborn.py").write_text(
        "import subprocess, sys, time\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        'print(\'{"progress": [%d, 9], "phase": "x"}\' % helper.pid, flush=True)\n'
        "time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', ROOT)}")
    helpers: list[int] = []

    def interrupt(_phase: str, pid: int, _total: int) -> None:
        helpers.append(pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.follow("stubborn", [], interrupt)
    deadline = time.monotonic() + 10
    while _runs(helpers[0]):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_examples_of_the_manual_run(pair: Path, tmp_path: Path):
    text = (ROOT / "docs" / "delta.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert examples
    for name, source in (("firmware-v1.img", "old"), ("firmware-v2.img", "new")):
        (tmp_path / name).write_bytes((pair / source).read_bytes())
    subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(examples)], cwd=tmp_path, check=True, timeout=60)
    commands = re.findall(r"^edgesync (delta .*)$", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        line = [sys.executable, "-m", "edgesync.cli.main", *command.split()]
        subprocess.run(line, cwd=tmp_path, check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert (tmp_path / "built.img").read_bytes() == (pair / "new").read_bytes()
