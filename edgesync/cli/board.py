"""`edgesync board`: play a board on this machine, and list the board types."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("board", help="play a board, or list the board types")
    verbs = parser.add_subparsers(dest="verb", required=True)

    run = verbs.add_parser(
        "run",
        help="play one board: power, boot loader and agent",
        description="Play one board in the foreground: boot loader, power and init around a real agent. One JSON line "
        "an event goes to standard output, the agent's log to standard error.",
        epilog="SIGUSR1 cuts the power, SIGTERM stops. Example: edgesync board run --root boards/b01/slots "
        "--config boards/b01/agent.toml",
    )
    run.add_argument("--root", type=Path, required=True, metavar="DIR", help="directory of the slots a and b")
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's configuration")
    run.add_argument(
        "--dark", type=float, default=0.2, metavar="S", help="seconds without power at a reboot (default: %(default)s)"
    )
    run.set_defaults(func=_run)

    types = verbs.add_parser("types", help="list the board types that this version knows")
    types.add_argument("--profiles", type=Path, metavar="DIR", help="a directory of your own board types")
    types.add_argument("--json", action="store_true", help="as JSON")
    types.set_defaults(func=_types)


def _run(args: argparse.Namespace) -> int:
    from edgesync.boards.supervisor import Habits, Supervisor

    command = [sys.executable, "-m", "edgesync.cli.main", "agent", "--config", str(args.config)]
    return Supervisor(args.root, command, _say, Habits(dark=args.dark)).run()


def _say(event: str, **fields: object) -> None:
    print(json.dumps({"time": round(time.time(), 3), "event": event, **fields}), flush=True)


def _types(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from edgesync.boards.profile import load, names

    profiles = [load(name, args.profiles) for name in names(args.profiles)]
    if args.json:
        print(json.dumps([asdict(profile) for profile in profiles], indent=2))
    else:
        for profile in profiles:
            print(f"{profile.name:16}{profile.summary}")
    return 0
