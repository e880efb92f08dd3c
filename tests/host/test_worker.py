"""Worker processes as they really end: well, badly, silently, too late, or together with their parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesync.host import worker
from edgesync.wire.errors import DeltaCorruptError, WorkerDiedError, WorkerStalledError

PLAY = """
import json, os, resource, signal, socket, sys, time
from edgesync.host.worker import serve
from edgesync.wire.errors import DeltaCorruptError

def handle(request, fds, progress):
    play = request["play"]
    if play == "reply":
        return {"read": os.read(fds["input"], 100).decode()}
    if play == "progress":
        for done in range(request["steps"]):
            time.sleep(request["pause"])
            progress(done + 1, request["steps"])
        return {}
    if play == "sleep":
        os.close(os.open(request["mark"] + "." + str(os.getpid()), os.O_CREAT))  # a worker may write no bytes
        time.sleep(60)
    if play == "named":
        raise DeltaCorruptError("segment 3 " + "x" * 1000)
    if play == "unnamed":
        raise ZeroDivisionError("oops")
    if play == "exit":
        os._exit(3)
    if play == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if play == "print":
        os.write(1, eval(request["text"]))
        time.sleep(60)
    if play == "memory":
        return {"size": len(bytearray(request["size"]))}
    if play == "file":
        with open(fds["output"], "wb", buffering=0, closefd=False) as file:
            return {"written": file.write(bytes(request["size"]))}
    if play == "confined":
        fds = sorted(int(name) for name in os.listdir("/proc/self/fd"))
        return {"cwd": os.getcwd(), "core": resource.getrlimit(resource.RLIMIT_CORE), "fds": fds,
                "nets": sorted(name for _, name in socket.if_nameindex()), "session": os.getsid(0) == os.getpid()}

if __name__ == "__main__":
    serve(handle)
"""
LIMITS = worker.Limits(stall=20.0)


@pytest.fixture(autouse=True)
def played_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "played_worker.py").write_text(PLAY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run(
    play: str,
    limits: worker.Limits = LIMITS,
    fds: dict[str, int] | None = None,
    on_progress: Any = None,
    **request: Any,
) -> dict[str, Any]:
    return asyncio.run(worker.run("played_worker", {"play": play, **request}, fds or {}, limits, on_progress))


def wait_for(condition: Callable[[], bool], limit: float = 10.0) -> bool:
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def marked(directory: Path) -> list[int]:
    """The processes that have begun to play "sleep" there."""
    return [int(path.suffix[1:]) for path in directory.glob("mark.*")]


def gone(pid: int) -> bool:
    """True when the process is dead: not there, or a zombie that somebody has yet to collect."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_worker_reads_what_its_parent_opened_and_replies(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("from the parent")
    fd = os.open(tmp_path / "input", os.O_RDONLY)
    try:
        assert run("reply", fds={"input": fd}) == {"read": "from the parent"}
    finally:
        os.close(fd)


def test_progress_arrives_in_order_and_keeps_a_slow_worker_alive() -> None:
    seen: list[tuple[int, int]] = []
    limits = worker.Limits(stall=2.0)
    run("progress", limits, steps=9, pause=0.25, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 9) for done in range(1, 10)]


def test_a_worker_that_is_silent_for_too_long_is_killed_and_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerStalledError, match="no progress for 1 s"):
        run("sleep", worker.Limits(stall=1.0), mark=str(tmp_path / "mark"))
    assert [gone(pid) for pid in marked(tmp_path)] == [True]


def test_a_named_error_keeps_its_name_and_200_characters() -> None:
    with pytest.raises(DeltaCorruptError) as caught:
        run("named")
    assert str(caught.value).startswith("segment 3 xxx")
    assert len(str(caught.value)) == 200


@pytest.mark.parametrize(
    ("play", "why"), [("unnamed", "exit status 1"), ("exit", "exit status 3"), ("killed", "killed by SIGKILL")]
)
def test_a_worker_that_dies_is_an_error_that_says_how(play: str, why: str) -> None:
    with pytest.raises(WorkerDiedError, match=why):
        run(play)


def test_a_worker_that_cannot_even_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "played_worker.py").write_text("import nowhere_to_be_found")
    with pytest.raises(WorkerDiedError, match="exit status 1"):
        run("reply", more="x" * 200_000)  # more than a pipe holds: nobody reads it


@pytest.mark.parametrize(
    "text",
    [
        "b'x' * 300_000",
        "b'not json' + bytes([10])",
        "b'[1, 2]' + bytes([10])",
        "b'null' + bytes([10])",
        "b'{}' + bytes([10])",
        "b'{\"reply\": 1}' + bytes([10])",
        "b'{\"progress\": 7}' + bytes([10])",
        'b\'{"progress": ["a", "b"]}\' + bytes([10])',
        'b\'{"error": "NoSuch"}\' + bytes([10])',
        'b\'{"error": [], "detail": ""}\' + bytes([10])',
        "bytes([255, 254, 10])",
    ],
)
def test_a_worker_that_answers_nonsense_is_killed_and_named(text: str) -> None:
    seen: list[object] = []
    with pytest.raises(WorkerDiedError):
        run("print", text=text, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == []


def test_cancelling_the_call_kills_the_worker(tmp_path: Path) -> None:
    async def main() -> None:
        call = asyncio.create_task(
            worker.run("played_worker", {"play": "sleep", "mark": str(tmp_path / "mark")}, {}, LIMITS)
        )
        while not marked(tmp_path):
            await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(asyncio.wait_for(main(), 20))
    assert [gone(pid) for pid in marked(tmp_path)] == [True]


PARENT = """
import asyncio, sys
from edgesync.host import worker
asyncio.run(worker.run("played_worker", {"play": "sleep", "mark": sys.argv[1]}, {}, worker.Limits(stall=60.0)))
"""


def children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


@pytest.mark.parametrize("moment", ["at work", "just started"])
def test_a_parent_that_is_killed_leaves_no_worker_behind(tmp_path: Path, moment: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "mark")])
    try:
        assert wait_for(lambda: children(parent.pid) != [])
        child = children(parent.pid)[0]
        assert moment != "at work" or wait_for(lambda: marked(tmp_path) == [child])
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: gone(child), 5.0)


LATE = """
import json, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1); " + sys.argv[1]],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
request = {"play": "sleep", "mark": sys.argv[2], "fds": {}, "limits": {"memory": 1 << 30, "file_size": 0}}
child.stdin.write(json.dumps({**request, "parent": os.getpid()}).encode() + b"\\n")
child.stdin.flush()
print(child.pid, flush=True)
os._exit(0)
"""


def test_a_worker_whose_parent_died_before_it_looked_does_not_begin(tmp_path: Path) -> None:
    """The request is in the pipe and the parent is gone when the worker, on a slow board, has loaded its libraries."""
    start = "import runpy; runpy.run_module('played_worker', run_name='__main__')"
    command = [sys.executable, "-c", LATE, start, str(tmp_path / "mark")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
    assert wait_for(lambda: gone(child))
    assert marked(tmp_path) == []


def test_a_worker_that_asks_for_more_memory_than_its_limit_dies_alone() -> None:
    assert run("memory", worker.Limits(stall=20.0, memory=256 << 20), size=1 << 20) == {"size": 1 << 20}
    with pytest.raises(WorkerDiedError):
        run("memory", worker.Limits(stall=20.0, memory=256 << 20), size=512 << 20)


def test_a_worker_writes_no_more_than_its_limit(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT)
    try:
        run("file", worker.Limits(stall=20.0, file_size=1000), {"output": fd}, size=1000)
        with pytest.raises(WorkerDiedError):
            run("file", worker.Limits(stall=20.0, file_size=500), {"output": fd}, size=1000)
        assert os.fstat(fd).st_size == 1000
    finally:
        os.close(fd)


def test_a_worker_has_no_path_no_core_dump_and_where_the_kernel_lets_it_no_network() -> None:
    found = run("confined")
    assert found["cwd"] == "/"
    assert found["core"] == [0, 0]
    assert found["session"] is True
    assert found["fds"][:3] == [0, 1, 2]
    assert len(found["fds"]) == 4  # the fourth reads /proc/self/fd
    if os.geteuid() == 0:
        assert found["nets"] == ["lo"]


def test_ctrl_c_reaches_the_agent_and_not_its_worker(tmp_path: Path) -> None:
    """The terminal signals the agent's group; the agent then ends its worker in its own way."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "mark")], start_new_session=True)
    try:
        assert wait_for(lambda: len(marked(tmp_path)) == 1)
        child = marked(tmp_path)[0]
        assert os.getpgid(child) != os.getpgid(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: gone(child))
