"""A board as `edgesync board run` plays it, whose agent waits a second where a real one waits ten or more.

Only figures of patience change, and none that is a limit of bytes or of tries: what an agent does about silence, a
full disk or a slot that never reports is the same, sooner.

    python hurried.py board ROOT CONFIG      the supervisor
    python hurried.py agent CONFIG           what it starts
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

CONFIRM = 5
"""Seconds that a slot on trial has to get a report to the broker."""
SILENCE = 1.0
"""Seconds without anything new before an agent asks the broker again."""


def board(root: Path, config: str) -> int:
    from edgesync.boards.supervisor import Habits, Supervisor

    command = [sys.executable, __file__, "agent", config]
    return Supervisor(root, command, _say, Habits(dark=0.2, pause=0.1, longest_pause=1.0)).run()


def agent(config: str) -> int:
    from edgesync.agent import attendance, boots, downloader, fetch, gate, machine, offers, pauses, record, runner
    from edgesync.boards import profile
    from edgesync.cli.main import main

    for module, name, seconds in (
        (fetch, "SILENCE_MIN", SILENCE),
        (pauses, "FIRST", 1.0),
        (machine, "RETRY_FIRST", 1.0),
        (downloader, "HTTP_FIRST", 1.0),
        (downloader, "TICK", 0.2),
        (attendance, "LINGER", 1.0),
        (attendance, "CALM", 1.0),
        (gate, "AGAIN", 1.0),
        (gate, "LOOK", 0.2),
        (boots, "GOODBYE", 2.0),
        (runner, "GOODBYE", 2.0),
        (offers, "FORGED_WAIT", 0.01),
        (record, "SAVE_WAIT", 0.5),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, seconds)
    load = profile.load
    profile.load = lambda name, directory=None: replace(load(name, directory), confirm_seconds=CONFIRM)
    return main(["agent", "--config", config])


def _say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["board", root, config]:
            sys.exit(board(Path(root), config))
        case ["agent", config]:
            sys.exit(agent(config))
    sys.exit(f"{sys.argv[1:]}: expected board ROOT CONFIG, or agent CONFIG")
