"""`edgesync delta` as it is typed: exit status, what is printed, and that nothing is left behind."""

from __future__ import annotations

import gzip
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesync.cli.main import main
from edgesync.delta import advice

COMMAND = [sys.executable, "-m", "edgesync.cli.main", "delta"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the images `old` and `new`, and the one in which the command runs."""
    old = random.Random(2).randbytes(50_000)
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(old[:20_000] + b"more" + old[20_000:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_delta_is_made_shown_verified_and_applied(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["delta", "make", "old", "new", "-o", "d"]) == 0
    assert main(["delta", "verify", "old", "d"]) == 0
    assert main(["delta", "apply", "old", "d", "-o", "built"]) == 0
    assert (lab / "built").read_bytes() == (lab / "new").read_bytes()
    assert main(["delta", "info", "d"]) == 0
    said = capsys.readouterr()
    assert said.out.count("50004 bytes") == 3
    assert said.err == ""
    assert sorted(os.listdir(lab)) == ["built", "d", "new", "old"]


def test_json_is_the_same_from_make_and_info_but_for_the_advice(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["delta", "make", "old", "new", "-o", "d", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["delta", "info", "d", "--json"]) == 0
    assert made == {**json.loads(capsys.readouterr().out), "compressed": []}


def _write_pieces(lab: Path) -> None:
    """Images with so many copies between them that a delta is smaller mixed."""
    chance = random.Random(3)
    pieces = [chance.randbytes(chance.randrange(500, 1500)) for _ in range(300)]
    (lab / "old").write_bytes(b"".join(pieces))
    (lab / "new").write_bytes(b"".join(piece[chance.randrange(20) :] for piece in pieces))


@pytest.mark.mixing
def test_the_coder_is_as_asked_for_and_told_and_an_unknown_one_is_refused(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    _write_pieces(lab)
    for coder in ("mixing", "lzma"):
        assert main(["delta", "make", "old", "new", "-o", "d", "--coder", coder]) == 0
        assert main(["delta", "info", "d"]) == 0
        assert capsys.readouterr().out.count(f"coder {coder}\n") == 2
    monkeypatch.setenv("EDGESYNC_UNMIXED", "1")
    assert main(["delta", "make", "old", "new", "-o", "e", "--coder", "mixing"]) == 1
    assert "EDGESYNC_UNMIXED" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["delta", "make", "old", "new", "-o", "e", "--coder", "zip"])
    assert sorted(os.listdir(lab)) == ["d", "new", "old"]


@pytest.mark.mixing
def test_a_mixed_delta_is_refused_without_the_coder_and_leaves_no_file(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    _write_pieces(lab)
    assert main(["delta", "make", "old", "new", "-o", "d", "--coder", "mixing"]) == 0
    assert "coder mixing\n" in capsys.readouterr().out
    monkeypatch.setenv("EDGESYNC_UNMIXED", "1")
    for arguments in (["apply", "old", "d", "-o", "built"], ["verify", "old", "d"]):
        assert main(["delta", *arguments]) == 1
        said = capsys.readouterr().err
        assert said.startswith("edgesync: d: delta: only the context-mixing coder unpacks it")
        assert "--coder lzma" in said
    assert sorted(os.listdir(lab)) == ["d", "new", "old"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["make", "old", "absent", "-o", "out"], "absent: No such file"),
        (["make", "old", "new", "-o", "nowhere/out"], "nowhere/out: No such file"),
        (["apply", "new", "d", "-o", "out"], "new: base image"),
        (["apply", "old", "cut", "-o", "out"], "cut: delta"),
        (["apply", "old", "new", "-o", "out"], "new: delta, header"),
        (["apply", "absent", "d", "-o", "out"], "absent: No such file"),
        (["apply", "old", "d", "-o", "nowhere/out"], "nowhere/out: No such file"),
        (["verify", "new", "d"], "new: base image"),
        (["info", "old"], "old: delta, header"),
    ],
)
def test_a_failure_names_file_and_reason_and_leaves_no_file(
    lab: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
):
    assert main(["delta", "make", "old", "new", "-o", "d"]) == 0
    (lab / "cut").write_bytes((lab / "d").read_bytes()[:-1])
    before = sorted(os.listdir(lab))
    assert main(["delta", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("edgesync: ")
    assert reason in said
    assert sorted(os.listdir(lab)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_make_leaves_nothing(lab: Path, number: signal.Signals):
    (lab / "old").write_bytes(bytes(range(256)) * 160_000)  # repetition keeps a suffix sort busy for long
    command = subprocess.Popen([*COMMAND, "make", "old", "new", "-o", "d"], cwd=lab, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(lab.glob(".edgesync-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    command.send_signal(number)
    _, said = command.communicate(timeout=20)
    assert (command.returncode, said) == (130, "")
    assert sorted(os.listdir(lab)) == ["new", "old"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_apply_leaves_the_image_that_was_there(lab: Path, number: signal.Signals):
    (lab / "old").write_bytes(bytes(24 << 20))
    (lab / "new").write_bytes(bytes(24 << 20) + b"more")
    (lab / "out").write_bytes(b"an image of before")
    assert main(["delta", "make", str(lab / "old"), str(lab / "new"), "-o", str(lab / "d")]) == 0
    before = sorted(os.listdir(lab))
    command = subprocess.Popen([*COMMAND, "apply", "old", "d", "-o", "out"], cwd=lab, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(lab.glob(".out-*")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    command.send_signal(number)
    _, said = command.communicate(timeout=20)
    assert (command.returncode, said) == (130, "")
    assert sorted(os.listdir(lab)) == before
    assert (lab / "out").read_bytes() == b"an image of before"


def test_a_delta_is_told_before_its_compressed_parts_are_measured_and_stays_when_that_is_interrupted(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(advice, "advise", interrupted)
    assert main(["delta", "make", "old", "new", "-o", "d"]) == 130
    assert capsys.readouterr().out.startswith("d: ")
    assert main(["delta", "verify", "old", "d"]) == 0


def test_a_terminal_gets_a_line_of_progress_that_is_gone_at_the_end(lab: Path):
    ours, theirs = pty.openpty()
    subprocess.run([*COMMAND, "make", "old", "new", "-o", "d"], cwd=lab, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "%" in said
    assert said.endswith("\r\x1b[K")


def test_the_line_of_progress_tells_the_measure_from_the_delta(lab: Path):
    for name in ("old", "new"):
        (lab / name).write_bytes(gzip.compress((lab / name).read_bytes().hex().encode() * 4))
    ours, theirs = pty.openpty()
    subprocess.run([*COMMAND, "make", "old", "new", "-o", "d"], cwd=lab, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "%  measure what compression costs: " in said
    assert said.index("%  read") < said.index("%  measure")


@pytest.mark.root
def test_images_may_be_block_devices(lab: Path, require: Callable[[str], None]):
    assert main(["delta", "make", "old", "new", "-o", "d"]) == 0
    (lab / "base.disk").write_bytes((lab / "old").read_bytes().ljust(1 << 20, b"\xff"))
    (lab / "target.disk").write_bytes(bytes(1 << 20))
    devices: list[str] = []
    try:
        for name in ("base.disk", "target.disk"):
            attach = subprocess.run(["losetup", "--find", "--show", name], capture_output=True, text=True, check=False)
            require(f"no loop device: {attach.stderr.strip()}" if attach.returncode else "")
            devices.append(attach.stdout.strip())
        assert main(["delta", "apply", devices[0], "d", "-o", devices[1]]) == 0
        assert main(["delta", "verify", devices[0], "d"]) == 0
        assert main(["delta", "apply", devices[0], "d", "-o", devices[0]]) == 1
    finally:
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=True)
    assert (lab / "target.disk").read_bytes()[:50_004] == (lab / "new").read_bytes()
    assert (lab / "base.disk").read_bytes()[:50_000] == (lab / "old").read_bytes()
