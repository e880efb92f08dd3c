"""What the terminal shows of a status, and what JSON says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from edgesync.cli import client, main
from edgesync.cli.status import PIPED, render


def status(**other: Any) -> dict[str, Any]:
    board = {
        "device": "demo.b01",
        "status": "acting",
        "sync": "OutOfSync",
        "health": "Progressing",
        "since": 1.0,
        "part": True,
        "phase": "fetching",
        "release": "v2",
        "wave": 1,
        "waits": "",
        "up": True,
        "seen": 2.0,
        "done": 16384,
        "total": 442623,
        "rate": 3754.0,
        "left": 113.5,
        "config": {"wanted": "ab" * 32, "held": "cd" * 32, "phase": "probing", "drift": 0},
        "error": None,
    }
    failed = {
        **board,
        "device": "demo.b02",
        "status": "failed",
        "health": "Degraded",
        "phase": "failed",
        "config": None,
        "rate": None,
        "left": None,
        "up": False,
        "error": {"name": "BootFailed", "detail": "slot b was refused [twice]"},
    }
    waves = [
        {"name": "canary", "open": True, "success": 1.0, "counts": {"confirmed": 1}},
        {"name": "rest", "open": False, "success": 0.9, "counts": {"acting": 1, "failed": 1}},
    ]
    rollout = {
        "id": "abc",
        "revision": "c" * 40,
        "author": "Ada",
        "subject": "Ship v2",
        "started": 1.0,
        "phase": "running",
        "reason": "",
        "paused": False,
        "reached": 2,
        "counts": {"acting": 1, "failed": 1},
        "waves": waves,
    }
    return {
        "format": 1,
        "time": 3.0,
        "fleet": "demo",
        "problem": "",
        "broker": {"connected": True, "reason": ""},
        "sync": "OutOfSync",
        "health": "Degraded",
        "rollout": rollout,
        "groups": [{"name": "north", "boards": 2, "sync": "OutOfSync", "health": "Degraded", "counts": {}}],
        "builds": [],
        "ahead": [],
        "quarantine": [],
        "refused": [],
        "boards": [board, failed],
        **other,
    }


def shown(value: dict[str, Any], width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render(value))
    return capture.get()


def test_a_board_s_line_has_phase_bytes_rate_time_left_and_error() -> None:
    text = shown(status())
    (line,) = [line for line in text.splitlines() if line.startswith("demo.b01")]
    assert line.split() == [
        *("demo.b01", "rest", "acting", "Progressing", "*", "fetching", "cdcdcdcd", ">", "abababab", "probing"),
        *("16,384", "/", "442,623", "3,754", "B/s", "1", "min", "54", "s"),
    ]
    (line,) = [line for line in text.splitlines() if line.startswith("demo.b02")]
    assert "failed (away)" in line
    assert line.rstrip().endswith("BootFailed: slot b was refused [twice]")


def test_the_head_tells_revision_rollout_waves_and_every_trouble() -> None:
    text = shown(
        status(
            problem="FleetInvalid: fleet.yaml:3: found x",
            broker={"connected": False, "reason": "127.0.0.1:1883: refused"},
            builds=[{"what": "delta a..b", "phase": "diff", "done": 1, "total": 4}],
            ahead=[
                {"what": "delta a..c", "boards": 2, "bytes": 262697, "error": None},
                {"what": "delta b..c", "boards": 1, "bytes": None, "error": None},
                {"what": "delta d..c", "boards": 1, "bytes": None, "error": {"name": "BuildFailed", "detail": "no"}},
            ],
            refused=[{"device": "demo.b02", "name": "ForgedMessage", "detail": "not signed", "time": 1.0, "count": 3}],
        )
    )
    for part in (
        "fleet demo  revision cccccccccccc  Ship v2",
        "rollout abc  running  1 acting, 1 failed",
        "OutOfSync, Degraded",
        "group north (2): OutOfSync, Degraded",
        "waves canary > rest (closed)",
        "broker: 127.0.0.1:1883: refused",
        "FleetInvalid: fleet.yaml:3: found x",
        "making delta a..b: diff 25%",
        "ahead for 2 waiting boards: delta a..c, 262,697 bytes",
        "ahead for 1 waiting board: delta b..c, not made yet",
        "ahead for 1 waiting board: delta d..c, BuildFailed: no",
        "refused 3 of demo.b02: ForgedMessage: not signed",
    ):
        assert part in text


def test_a_board_that_waits_says_what_for_and_config_says_what_was_changed_by_hand() -> None:
    value = status()
    value["boards"][0] |= {"status": "waiting", "waits": "outside of window nights, until 2026-11-26 21:00Z"}
    value["boards"][1] |= {"config": {"wanted": "ab" * 32, "held": "ab" * 32, "phase": "idle", "drift": 2}}
    lines = shown(value).splitlines()
    assert any("demo.b01" in line and "outside of window nights, until 2026-11-26 21:00Z" in line for line in lines)
    assert any("demo.b02" in line and "abababab, 2 drifted" in line for line in lines)


def test_a_fleet_without_a_rollout_and_a_narrow_terminal_are_no_trouble() -> None:
    empty = status(boards=[])
    empty["rollout"] |= {"id": "", "revision": "", "waves": [], "counts": {}}
    assert "(none yet)" in shown(empty)
    assert "demo.b01" in shown(status(), 40)
    assert "acting" in shown(status(), 40)


def test_json_is_the_server_s_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(client.Client, "get", lambda _self, _target: status())
    assert main.main(["status", "--socket", "/none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == status()


def way(kind: str, **other: Any) -> dict[str, Any]:
    base = "ab" * 32 if kind == "delta" else None
    given = {"component": "root", "kind": kind, "coder": "lzma", "base": base, "bytes": None, "seconds": 1.2}
    return {**given, "chosen": False, "against": "", **other}


def detail(**other: Any) -> dict[str, Any]:
    """What the server says of one board alone."""
    given = {
        "ways": [],
        "config_source": {"kind": "delta", "base": "cd" * 32, "blob": "e" * 32, "length": 69},
        "requires": "firmware >= 2",
        "month": 400_000,
        "budget_left": 600_000,
        "quarantine": [],
        "rollouts": [],
    }
    return {**status()["boards"][0], **given, **other}


def test_one_board_tells_its_config_its_budget_and_what_became_of_it_in_the_last_rollouts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"started": 0.0, "revision": "c" * 40, "subject": "Say two", "status": "failed"}
    board = detail(quarantine=["ab" * 32], rollouts=[{**part, "error": "ProbeFailed: ping: exit status 1"}])
    monkeypatch.setattr(client.Client, "get", lambda _self, _target: board)
    assert main.main(["status", "demo.b01", "--socket", "/none"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "OutOfSync, Progressing for ",
        "config cdcdcdcdcdcd, shall be abababababab, requires firmware >= 2: probing",
        "sent as a delta from cdcdcdcdcdcd of 69 bytes",
        "400,000 bytes this month, 600,000 left of its budget",
        "quarantine: abababababab failed here",
        "1970-01-01 00:00Z cccccccc Say two: failed ProbeFailed: ping: exit status 1",
    ):
        assert words in text
    board["config"] |= {"held": "ab" * 32, "phase": "idle", "drift": 3}
    assert main.main(["status", "demo.b01", "--socket", "/none"]) == 0
    assert "config abababababab, 3 files changed by hand" in capsys.readouterr().out


@pytest.mark.parametrize(("columns", "width"), [(None, PIPED), ("60", 60)])
def test_what_goes_into_a_pipe_is_not_folded_as_on_a_narrow_terminal(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client.Client, "get", lambda _self, _target: status())
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert main.main(["status", "--socket", "/none"]) == 0
    assert width - 40 < max(map(len, capsys.readouterr().out.splitlines())) <= width


def test_one_board_shows_each_way_its_bytes_and_why_not_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = detail(ways=[way("delta", bytes=262697, chosen=True), way("full", against="larger")])
    asked: list[str] = []
    monkeypatch.setattr(client.Client, "get", lambda _self, target: asked.append(target) or board)
    assert main.main(["status", "demo.b01", "--socket", "/none"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "demo.b01 acting, fetching release v2"
    assert "root delta from abababababab 262,697 1 s chosen" in lines
    assert "root full not made 1 s no: larger" in lines
    board = {**board, "ways": [], "total": 0, "error": {"name": "BootFailed", "detail": ""}}
    assert main.main(["status", "demo.b01", "--socket", "/none"]) == 0
    shown = capsys.readouterr().out
    assert "it holds the images that it shall run" in shown
    assert "BootFailed" in shown
    assert main.main(["status", "demo.b01", "--socket", "/none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == board
    assert asked == ["/v1/boards/demo.b01"] * 3


def test_a_board_s_name_that_is_none_is_refused_before_anyone_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status", "../b", "--socket", "/none"]) == 1
    assert "../b" in capsys.readouterr().err
