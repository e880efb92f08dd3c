"""Where a commit stands is told by a note on it and by the operator's command, and neither holds anything up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from story import Story

from edgesync.control import announce
from edgesync.control.announce import Announcer, statuses
from edgesync.control.git import Git
from edgesync.control.standing import Abort, Event, Pause, State
from edgesync.host.tasks import end


def told(story: Story, event: Event) -> list[dict[str, Any]]:
    before = story.state
    story.do(event)
    return statuses(before, story.state)


def test_each_change_of_phase_is_told_once_and_nothing_between() -> None:
    story = Story("b1", "b2")
    before = story.state
    story.push("A", config="X")
    (status,) = statuses(before, story.state)
    assert (status["phase"], status["counts"], status["revision"]) == ("running", {"offered": 2}, story.state.revision)
    before = story.state
    story.config("b1", "idle", "X")
    assert statuses(before, story.state) == []
    story.config("b2", "idle", "X")
    assert [s["phase"] for s in statuses(before, story.state)] == ["done"]


def test_pause_and_abort_are_told_with_their_reason() -> None:
    story = Story("b1")
    story.push("A", config="X")
    (paused,) = told(story, Pause())
    assert (paused["phase"], paused["paused"]) == ("running", True)
    (aborted,) = told(story, Abort("smoke"))
    assert (aborted["phase"], aborted["reason"]) == ("aborted", "smoke")


def test_a_commit_that_a_newer_one_overtook_is_told_so() -> None:
    story = Story("b1")
    story.push("A", config="X")
    before = story.state
    story.push("A", config="Y")
    old, new = statuses(before, story.state)
    assert (old["revision"], old["phase"]) == (before.revision, "superseded")
    assert (new["revision"], new["phase"]) == (story.state.revision, "running")


def test_a_server_that_starts_tells_where_it_stands_and_one_without_a_rollout_nothing() -> None:
    story = Story("b1")
    assert [s["phase"] for s in statuses(replace(story.state, spec=None), story.state)] == ["done"]
    assert statuses(State(), State()) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "fleet"
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for words in (
        ["init", "-q", str(place)],
        ["-C", str(place), *identity, "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], check=True, timeout=30)
    return place


def head(repository: Path) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()


def note(repository: Path) -> dict[str, Any]:
    shown = ["git", "-C", str(repository), "notes", "--ref=edgesync", "show", "HEAD"]
    found: dict[str, Any] = json.loads(
        subprocess.run(shown, check=True, capture_output=True, text=True, timeout=30).stdout
    )
    return found


def states(revision: str) -> tuple[State, State]:
    story = Story("b1")
    done = replace(story.state, revision=revision)
    return replace(done, phase="running"), done


@asynccontextmanager
async def announcing(repository: Path, *command: str, notes: bool = True) -> AsyncIterator[Announcer]:
    announcer = Announcer(Git(repository), command, notes=notes)
    task = asyncio.ensure_future(announcer.run())
    try:
        yield announcer
    finally:
        await end([task])


async def until(path: Path, lines: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(30):
        while not path.exists() or path.read_text().count("\n") < lines:
            await asyncio.sleep(0.02)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_commit_is_noted_and_the_command_gets_the_same_line(repository: Path, tmp_path: Path) -> None:
    async def flow() -> None:
        out = tmp_path / "told"
        async with announcing(repository, "sh", "-c", f"cat >> {out}") as announcer:
            running, done = states(head(repository))
            announcer.tell(State(), running)
            await until(out)
            announcer.tell(running, done)
            lines = await until(out, 2)
        assert [line["phase"] for line in lines] == ["running", "done"]
        assert note(repository) == lines[-1]

    asyncio.run(flow())


def test_a_command_that_hangs_is_killed_with_its_children_and_the_next_status_is_told(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "COMMAND_LIMIT", 1.0)
    out, child = tmp_path / "told", tmp_path / "child"
    script = f"sh -c 'echo $$ > {child}; exec sleep 600' & wait"

    async def flow() -> None:
        async with announcing(repository, "sh", "-c", f"if [ -e {child} ]; then cat >> {out}; else {script}; fi") as it:
            running, done = states(head(repository))
            it.tell(State(), running)
            async with asyncio.timeout(30):
                while not child.exists() or not child.read_text():
                    await asyncio.sleep(0.02)
            it.tell(running, done)
            assert [line["phase"] for line in await until(out)] == ["done"]
        assert not Path(f"/proc/{int(child.read_text())}/cwd").exists()

    asyncio.run(flow())


@pytest.mark.parametrize("command", [("/no/such/program",), (sys.executable, "-c", "raise SystemExit(3)"), ("true",)])
def test_a_command_that_is_missing_or_fails_or_reads_nothing_stops_no_note(
    repository: Path, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def flow() -> None:
        async with announcing(repository, *command) as announcer:
            running, done = states(head(repository))
            announcer.tell(State(), running)
            await asyncio.sleep(0.3)
            announcer.tell(running, done)
            async with asyncio.timeout(30):
                while await asyncio.to_thread(_phase, repository) != "done":
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)

    asyncio.run(flow())
    if command != ("true",):
        assert "[status] command" in caplog.text


def _phase(repository: Path) -> str:
    try:
        return str(note(repository)["phase"])
    except subprocess.CalledProcessError:
        return ""


def test_a_repository_that_cannot_be_noted_is_told_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def flow() -> None:
        out = tmp_path / "told"
        async with announcing(tmp_path / "nowhere", "sh", "-c", f"cat >> {out}") as announcer:
            announcer.tell(State(), states("0" * 40)[0])
            await until(out)

    asyncio.run(flow())
    assert "is not noted" in caplog.text
