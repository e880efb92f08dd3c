"""Programs that have a name: real ones, that hang, babble, leave children behind, or are not there."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from edgesync.host import command
from edgesync.host.command import Ended


def run(*argv: str, limit: float = 10.0) -> Ended:
    return asyncio.run(command.run(argv, limit))


def shell(script: str, limit: float = 10.0) -> Ended:
    return run("/bin/sh", "-c", script, limit=limit)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until_dead(pid: int) -> None:
    end = time.monotonic() + 5
    while lives(pid):
        assert time.monotonic() < end, f"{pid} still lives"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "ended", "text"),
    [
        ("exit 0", Ended(0), "exit status 0"),
        ("echo one; echo two; exit 3", Ended(3, "two"), "exit status 3: two"),
        ("echo why >&2; echo; exit 1", Ended(1, "why"), "exit status 1: why"),
        ("kill -TERM $$", Ended(-signal.SIGTERM), "killed by SIGTERM"),
        ("printf 'a\\033[2Jb'; exit 1", Ended(1, "a?[2Jb"), "exit status 1: a?[2Jb"),
        ("printf '\\377\\n'; exit 1", Ended(1, "\ufffd"), "exit status 1: \ufffd"),
    ],
)
def test_how_it_ended_and_its_last_words_are_told(script: str, ended: Ended, text: str) -> None:
    assert shell(script) == ended
    assert str(ended) == text


def test_what_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = shell(f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/child; echo hanging; wait", limit=0.5)
    assert ended == Ended(-signal.SIGKILL, "hanging", late=True)
    assert str(ended) == "not done in time: hanging"
    assert time.monotonic() - began < 30
    until_dead(int((tmp_path / "child").read_text()))


def test_what_it_leaves_behind_ends_with_it_and_is_not_waited_for(tmp_path: Path) -> None:
    assert shell(f"sleep 60 & echo $! > {tmp_path}/child; echo done", limit=30) == Ended(0, "done")
    until_dead(int((tmp_path / "child").read_text()))


def test_what_prints_without_end_fills_no_memory() -> None:
    ended = shell("yes | head -c 20000000; echo last; exit 1")
    assert ended == Ended(1, "last")
    assert len(shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 1").words) == command.WORDS_LIMIT


@pytest.mark.parametrize("argv", [("/no/such/program",), ("/etc",), ("/bin/true", "a\0b")])
def test_what_cannot_be_started_is_told_and_not_raised(argv: tuple[str, ...]) -> None:
    ended = run(*argv)
    assert ended.status == command.CANNOT_RUN
    assert argv[0] in ended.words


def test_it_sees_no_environment_and_no_standard_input_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert shell('cat; echo "$SECRET$PWD"').words == "/"


def test_a_call_that_is_cancelled_ends_the_program(tmp_path: Path) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(command.run(("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"), 50))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    until_dead(int((tmp_path / "pid").read_text()))
