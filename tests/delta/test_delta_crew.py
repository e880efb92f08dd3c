"""Worker processes of a build: results in order, memory within the limit, named errors, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from delta_parts import alive, descendants, gone

from edgesync.delta import crew as crews
from edgesync.delta.crew import Crew, Task
from edgesync.delta.pair import pair_of
from edgesync.wire.errors import BuildFailedError, StorageError


def nothing(_done, _total):
    pass


@pytest.fixture(params=[1, 2], ids=["alone", "two"])
def crew(request):
    crew = Crew(request.param)
    yield crew
    crew.close()


def test_results_are_in_the_order_of_the_tasks(crew):
    assert crew.run([Task(pow, (2, number), 1, 1) for number in range(20)], nothing) == [2**n for n in range(20)]


def test_progress_counts_weights_up_to_their_sum(crew):
    steps = []
    crew.run([Task(abs, (-1,), 1, weight) for weight in (5, 1, 7)], lambda *step: steps.append(step))
    assert steps[0] == (0, 13)
    assert steps[-1] == (13, 13)
    assert len(steps) == 4


def test_an_error_of_a_task_is_the_error_of_the_build(crew):
    with pytest.raises(StorageError, match="nowhere: No such file"):
        crew.run([Task(pair_of, ("nowhere", "nowhere"), 1, 1)], nothing)


def test_a_worker_that_dies_is_a_named_error():
    crew = Crew(2)
    try:
        with pytest.raises(BuildFailedError, match="status -9"):
            crew.run([Task(abs, (-1,), 1, 1), Task(signal.raise_signal, (signal.SIGKILL,), 1, 1)], nothing)
    finally:
        crew.close()


def test_an_unexpected_error_names_the_call():
    crew = Crew(2)
    try:
        with pytest.raises(BuildFailedError, match=r"builtins\.divmod: ZeroDivisionError"):
            crew.run([Task(divmod, (1, 0), 1, 1)], nothing)
    finally:
        crew.close()


def test_tasks_that_run_together_fit_into_the_memory(monkeypatch):
    monkeypatch.setattr(crews, "MEMORY", 10)
    crew, running, most = Crew(3), [], []
    start = crew._start

    def watched(task, number):
        running[:] = [tasks[other].memory for _, other in crew._busy.values()] + [task.memory]
        most.append(sum(running) if len(running) > 1 else 0)
        start(task, number)

    monkeypatch.setattr(crew, "_start", watched)
    tasks = [Task(abs, (-1,), memory, 1) for memory in (6, 6, 4, 3, 25, 3, 3, 3)]
    try:
        assert crew.run(tasks, nothing) == [1] * 8
    finally:
        crew.close()
    assert 0 < max(most) <= 10


def test_closing_ends_workers_in_the_middle_of_their_work():
    crew = Crew(2)
    tasks = [Task(time.sleep, (600,), 1, 1), Task(signal.raise_signal, (signal.SIGKILL,), 1, 1)]
    with pytest.raises(BuildFailedError):
        crew.run(tasks, nothing)
    workers = [pid for pid in descendants(os.getpid()) if alive(pid) and pid != os.getpid()]
    assert workers
    crew.close()
    assert not any(map(alive, workers))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_die_with_the_build(number):
    code = (
        "import time; from edgesync.delta.crew import Crew, Task; print('go', flush=True);"
        "Crew(2).run([Task(time.sleep, (600,), 1, 1)] * 2, lambda *_: None)"
    )
    build = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert build.stdout is not None
    assert build.stdout.readline() == b"go\n"
    while len(workers := descendants(build.pid)) < 3:
        time.sleep(0.05)
    build.send_signal(number)
    assert build.wait(timeout=30) != 0
    build.stdout.close()
    assert gone(workers)
