"""`edgesync history`, `pause`, `resume`, `abort`, `retry`: what an operator asks the server, one question each."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any
from urllib.parse import urlencode

from edgesync.cli import client

Subparsers = argparse._SubParsersAction  # noqa: SLF001 - argparse gives this type no public name


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    history = _command(
        subparsers,
        "history",
        "what happened, oldest first",
        "Print the newest events: when, the commit and whose it is, the board, what happened and why: commits, waves, "
        "what each board did, why it failed, what was refused.",
        "Example: edgesync history --board b01 -n 20",
    )
    history.add_argument("--board", metavar="BOARD", help="this board's events, and the fleet's")
    history.add_argument("-n", type=int, default=50, metavar="LINES", help="how many (default: 50)")
    history.add_argument("--json", action="store_true", help="as JSON lines")
    history.set_defaults(func=_history)

    pause = _command(
        subparsers,
        "pause",
        "offer nothing new",
        "Offer nothing new to any board until `edgesync resume`, whatever is committed. Boards with an offer go on.",
    )
    pause.set_defaults(func=lambda args: _post(args, "pause"))

    resume = _command(subparsers, "resume", "go on after a pause", "Go on after `edgesync pause`.")
    resume.set_defaults(func=lambda args: _post(args, "resume"))

    abort = _command(
        subparsers,
        "abort",
        "stop the rollout",
        "Stop the rollout: boards that have not activated stop where they are, confirmed ones stay. A new commit, or "
        "`edgesync retry --all`, starts again.",
        "Example: edgesync abort --reason 'radio dies after an hour'",
    )
    abort.add_argument("--reason", default="by the operator", metavar="TEXT", help="kept in the history, at most 150")
    abort.set_defaults(func=lambda args: _post(args, "abort", reason=args.reason))

    retry = _command(
        subparsers,
        "retry",
        "try again what failed",
        "Lift the quarantine of a board that failed or was lost and offer its image again; with --all that of the "
        "whole fleet, and go on with a rollout that was aborted.",
        "Example: edgesync retry b01",
    )
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("board", nargs="?", metavar="BOARD", help="one board, by its id or as <fleet>.<board>")
    which.add_argument("--all", action="store_true", help="every board")
    retry.set_defaults(func=_retry)


def _command(
    subparsers: Subparsers[argparse.ArgumentParser], name: str, summary: str, text: str, example: str = ""
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=summary, description=text, epilog=example)
    client.add_arguments(parser)
    return parser


def _history(args: argparse.Namespace) -> int:
    query = {"n": args.n, **({"board": args.board} if args.board else {})}
    for entry in client.connect(args).get(f"/v1/history?{urlencode(query)}")["entries"]:
        print(json.dumps(entry) if args.json else _line(entry))
    return 0


def _line(entry: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry["time"]))
    what = entry["device"] or "fleet"
    change = f"{entry['revision'][:8]:8}  {entry['author'].partition(' <')[0]:12}"
    return f"{when}Z  {change}  {what:20}  {entry['event']:12}  {entry['detail']}".rstrip()


def _post(args: argparse.Namespace, command: str, **body: Any) -> int:
    answer = client.connect(args).post(f"/v1/{command}", **body)
    paused = ", paused" if answer["paused"] else ""
    reason = f": {answer['reason']}" if answer["reason"] else ""
    print(f"rollout {answer['rollout'] or '(none yet)'} is {answer['phase']}{paused}{reason}")
    return 0


def _retry(args: argparse.Namespace) -> int:
    return _post(args, "retry", **({"all": True} if args.all else {"board": args.board}))
