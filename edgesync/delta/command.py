"""The command line that `make` and `full` share: paths in, JSON lines out, so that the server can follow a child.

{"progress": [done, total], "phase": "..."}   any number of times, in bytes
{"reply": {...}}                              exit status 0
{"error": "<name>", "detail": "..."}          exit status 1
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from edgesync.wire.errors import EdgesyncError


def run(module: str, description: str, paths: Sequence[str], build: Callable[..., Any]) -> int:
    """Call `build(*paths, progress)` with the paths from the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog="Progress, then a reply or an error, on stdout as JSON lines. The output appears whole or not at all.",
    )
    for name in paths:
        parser.add_argument(name, metavar=name.upper())
    given = vars(parser.parse_args())
    try:
        info = build(*(given[name] for name in paths), _progress)
    except EdgesyncError as error:
        _say({"error": error.name, "detail": str(error)})
        return 1
    _say({"reply": dataclasses.asdict(info)})
    return 0


def _progress(phase: str, done: int, total: int) -> None:
    _say({"progress": [done, total], "phase": phase})


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)
