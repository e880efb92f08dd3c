"""`edgesync board` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edgesync.boards import profile

EDGESYNC = [sys.executable, "-m", "edgesync.cli.main", "board"]


def test_types_are_listed_with_what_they_are() -> None:
    out = subprocess.run([*EDGESYNC, "types"], capture_output=True, text=True, check=True).stdout
    assert out.startswith("files ")
    listed = json.loads(subprocess.run([*EDGESYNC, "types", "--json"], capture_output=True, check=True).stdout)
    assert [entry["name"] for entry in listed] == list(profile.names())


def test_run_plays_the_board_with_a_real_agent_process_and_prints_events_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "root.img").write_bytes(b"image")
    missing = str(tmp_path / "agent.toml")
    run = subprocess.Popen(
        [*EDGESYNC, "run", "--root", str(tmp_path), "--config", missing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout
    events = [json.loads(run.stdout.readline()) for _ in range(3)]
    run.terminate()
    rest, errors = run.communicate(timeout=30)
    assert [event["event"] for event in events] == ["boot", "agent-start", "agent-exit"]
    assert all(isinstance(event["time"], float) for event in events)
    assert json.loads(rest.splitlines()[-1])["event"] == "stop"
    assert missing in errors
    assert run.returncode == 0


def test_a_board_without_slots_is_an_error_with_its_path(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    command = [*EDGESYNC, "run", "--root", str(nowhere), "--config", "agent.toml"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == 1
    assert str(nowhere) in run.stderr
    assert "Traceback" not in run.stderr
