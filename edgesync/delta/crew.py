"""Worker processes of one build: as many as there are cores, within one limit of memory, and none outlives the build.

Server only. `python -m edgesync.delta.crew` is one of them: pickled calls come in on stdin, pickled answers go out on
stdout. A task is a function of a module and its arguments; images are read by path.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from edgesync.wire.errors import BuildFailedError, EdgesyncError

MEMORY = 3 << 30
"""Bytes that tasks which run together may take, by their own estimate: with the build itself and the interpreters a
build stays below 4 GiB."""

ALONE = 4 << 20
"""Bytes of the longest result that is made in one process: others would start for longer than they work."""

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A call, the bytes of memory that it takes at most, and what it counts for in progress."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    memory: int
    weight: int


class Crew:
    """At most `size` processes, which start when they are needed. A crew of one works in this process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: dict[int, tuple[subprocess.Popen[bytes], int]] = {}

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        for worker in (*self._idle, *(worker for worker, _ in self._busy.values())):
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe:
                    _close(pipe)

    def run(self, tasks: Sequence[Task], report: Report) -> list[Any]:
        """The results, in the order of the tasks; they start in that order as far as memory allows. `report` takes
        the weight of what is done, and of all.

        Raises the EdgesyncError that a task raises, BuildFailedError for anything else that ends one.
        """
        done, total = 0, sum(task.weight for task in tasks)
        report(done, total)
        results: list[Any] = [None] * len(tasks)
        waiting = list(range(len(tasks)))
        while waiting or self._busy:
            while (number := self._next(tasks, waiting)) is not None:
                waiting.remove(number)
                if self._size == 1:
                    results[number] = tasks[number].call(*tasks[number].arguments)
                    done += tasks[number].weight
                    report(done, total)
                else:
                    self._start(tasks[number], number)
            if not self._busy:
                continue
            for pipe in select.select(list(self._busy), [], [])[0]:
                worker, number = self._busy.pop(pipe)
                self._idle.append(worker)
                results[number] = _answer(worker)
                done += tasks[number].weight
                report(done, total)
        return results

    def _next(self, tasks: Sequence[Task], waiting: Sequence[int]) -> int | None:
        """The first waiting task for which there is a worker and memory; one that is too large for all runs alone."""
        if len(self._busy) >= self._size:
            return None
        left = MEMORY - sum(tasks[number].memory for _, number in self._busy.values())
        return next((number for number in waiting if tasks[number].memory <= left or not self._busy), None)

    def _start(self, task: Task, number: int) -> None:
        worker = self._idle.pop() if self._idle else _worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        self._busy[worker.stdout.fileno()] = worker, number
        try:
            pickle.dump((task.call, task.arguments), worker.stdin)
            worker.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: there will be no answer, which says so


def crew_for(length: int) -> Crew:
    """As many processes as are worth it for a result of `length` bytes."""
    return Crew(1 if length <= ALONE else len(os.sched_getaffinity(0)))


def _worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgesync.host.child", str(os.getpid()), "edgesync.delta.crew"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


def _answer(worker: subprocess.Popen[bytes]) -> Any:
    assert worker.stdout is not None
    try:
        good, answer = pickle.load(worker.stdout)  # noqa: S301 - from a process of ours
    except (EOFError, pickle.UnpicklingError) as error:
        status = worker.wait(timeout=60)
        raise BuildFailedError(f"a worker of the build ended with status {status}; -9 may mean: no memory") from error
    if not good:
        raise answer
    return answer


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        pass  # what was not sent is for nobody


def main() -> None:
    """A worker, until there is nobody any more to send it a task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the build, which ends its workers
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            call, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the build
        except EOFError:
            return
        try:
            answer = True, call(*arguments)
        except EdgesyncError as error:
            answer = False, error
        except Exception as error:  # noqa: BLE001 - whatever it is, the build must end and say so
            answer = False, BuildFailedError(f"{call.__module__}.{call.__name__}: {error!r}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
