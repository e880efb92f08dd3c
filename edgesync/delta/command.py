"""The command line that `make` and `full` share: paths in, JSON lines out, so that the server can follow a child.

{"progress": [done, total], "phase": "..."}   any number of times, in bytes
{"reply": {...}}                              exit status 0
{"error": "<name>", "detail": "..."}          exit status 1
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgesync.wire.errors import EdgesyncError


def run(
    module: str,
    description: str,
    paths: Sequence[str],
    build: Callable[..., Any],
    switches: Mapping[str, str] | None = None,
) -> int:
    """Call `build(*paths, progress, **switches)` as the command line says; `switches` are the names of options that are
    on or off, with their help. Returns the exit status.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog="Progress, then a reply or an error, on stdout as JSON lines. The output appears whole or not at all.",
    )
    for name in paths:
        parser.add_argument(name, metavar=name.upper())
    for name, text in (switches or {}).items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    given = vars(parser.parse_args())
    try:
        options = {name: given[name] for name in switches or {}}
        info = build(*(given[name] for name in paths), _progress, **options)
    except EdgesyncError as error:
        _say({"error": error.name, "detail": str(error)})
        return 1
    _say({"reply": dataclasses.asdict(info)})
    return 0


def _progress(phase: str, done: int, total: int) -> None:
    _say({"progress": [done, total], "phase": phase})


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)
