"""`edgesync status`: the fleet, or one board, on one screen, now or live, or as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from edgesync.cli import client
from edgesync.wire.ids import parse_device

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY = 1.0
"""Seconds between two looks with --watch."""
PIPED = 160
"""Characters of a line where no terminal and no COLUMNS says how many there are."""

DIGITS = 8
"""Of a config's digest: enough to tell one from the next."""

_COLUMNS = ("board", "wave", "status", "health", "phase", "config", "bytes", "rate", "left", "error")
_WHOLE = ("board", "status")
_NUMBERS = ("bytes", "rate", "left")
_FOLDED = ("health", "config", "error")

_HEALTH = {"Healthy": "green", "Progressing": "cyan", "Degraded": "bold red", "Unknown": "yellow"}

_STYLES = {
    "confirmed": "green",
    "failed": "bold red",
    "lost": "bold red",
    "activated": "cyan",
    "acting": "cyan",
    "pending": "yellow",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "status",
        help="where each board stands",
        description="Show the revision, the rollout and its waves, and each board: health (* is OutOfSync), phase, "
        "config, bytes, rate, time left. With BOARD show that one: why it stands so, its config and budget, and which "
        "ways there are to what it shall run: bytes, CPU time, and why not the other.",
        epilog="docs/operations.md describes every word, and the JSON. Example: edgesync status --watch",
    )
    parser.add_argument("board", nargs="?", metavar="BOARD", help="one board, by its id or as <fleet>.<board>")
    client.add_arguments(parser)
    parser.add_argument("--watch", action="store_true", help="until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="as JSON; with --watch one line each second")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    server = client.connect(args)
    board = parse_device(args.board) if args.board and "." in args.board else args.board
    target = f"/v1/boards/{quote(board, safe='')}" if board else "/v1/status"
    if args.json:
        return _json(server, target, watch=args.watch)
    from rich.console import Console
    from rich.live import Live

    from edgesync.cli import boardview

    show = boardview.render if args.board else render
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED)
    if not args.watch:
        console.print(show(server.get(target)))
        return 0
    with Live(show(server.get(target)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(EVERY)
            live.update(show(server.get(target)), refresh=True)


def _json(server: client.Client, target: str, *, watch: bool) -> int:
    while True:
        print(json.dumps(server.get(target), indent=None if watch else 2), flush=True)
        if not watch:
            return 0
        time.sleep(EVERY)


def render(status: dict[str, Any]) -> RenderableType:
    """The status as `GET /v1/status` gives it, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = [_row(board, status["rollout"]["waves"]) for board in status["boards"]]
    # What is the same for every board, or told of none, gives way to which board it is and how it stands.
    told = [name for name in _COLUMNS if name in _WHOLE or any(str(row[name]) for row in rows)]
    if len(status["rollout"]["waves"]) < 2 and "wave" in told:
        told.remove("wave")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in told:
        whole = [len(str(row[name])) for row in rows] if name in _WHOLE else []
        justify: Literal["left", "right"] = "right" if name in _NUMBERS else "left"
        table.add_column(
            name, justify=justify, no_wrap=name not in _FOLDED, overflow="fold", min_width=max(whole, default=0)
        )
    for row in rows:
        table.add_row(*(row[name] for name in told))
    return Group(*(Text(line, style) for line, style in _head(status)), Text(), table)


def _head(status: dict[str, Any]) -> list[tuple[str, str]]:
    rollout = status["rollout"]
    counts = ", ".join(f"{number} {name}" for name, number in rollout["counts"].items()) or "no board takes part"
    waves = " > ".join(f"{w['name']}{'' if w['open'] else ' (closed)'}" for w in rollout["waves"])
    phase = f"{rollout['phase']}{', paused' if rollout['paused'] else ''}"
    lines = [
        (f"fleet {status['fleet']}  revision {rollout['revision'][:12] or '(none yet)'}  {rollout['subject']}", "bold"),
        (f"rollout {rollout['id'] or '(none yet)'}  {phase}  {counts}", ""),
        (f"{status['sync']}, {status['health']}", _HEALTH[status["health"]]),
    ]
    lines += [
        (f"group {g['name']} ({g['boards']}): {g['sync']}, {g['health']}", _HEALTH[g["health"]])
        for g in status["groups"]
    ]
    if waves:
        lines.append((f"waves {waves}", ""))
    if rollout["reason"]:
        lines.append((rollout["reason"], "red"))
    if not status["broker"]["connected"]:
        lines.append((f"broker: {status['broker']['reason']}", "red"))
    if status["problem"]:
        lines.append((f"repository: {status['problem']}", "red"))
    lines += [(f"making {b['what']}: {b['phase']} {_percent(b['done'], b['total'])}", "") for b in status["builds"]]
    lines += [(_ahead(share), "red" if share["error"] else "") for share in status["ahead"]]
    lines += [
        (f"refused {r['count']} of {r['device']}: {r['name']}: {r['detail']}", "yellow") for r in status["refused"]
    ]
    return lines


def _row(board: dict[str, Any], waves: list[dict[str, Any]]) -> dict[str, Any]:
    from rich.text import Text

    error = f"{board['error']['name']}: {board['error']['detail']}".rstrip(": ") if board["error"] else ""
    away = " (away)" if board["up"] is False else ""
    return {
        "board": board["device"],
        "wave": waves[board["wave"]]["name"] if board["wave"] < len(waves) else "",
        "status": Text(board["status"], _STYLES.get(board["status"], "")),
        "health": Text(board["health"] + ("" if board["sync"] == "Synced" else " *"), _HEALTH[board["health"]]),
        "phase": f"{board['phase'] or ''}{away}",
        "config": config(board["config"]),
        "bytes": f"{board['done']:,} / {board['total']:,}" if board["total"] else "",
        "rate": f"{board['rate']:,.0f} B/s" if board["rate"] else "",
        "left": _duration(board["left"]) if board["left"] is not None else "",
        "error": Text(error, "red") if error else Text(board["waits"]),
    }


def config(told: dict[str, Any] | None) -> str:
    """A board's config in a few characters: which it has, where it goes, and what was changed by hand."""
    if told is None:
        return ""
    held, wanted = (told["held"] or "none")[:DIGITS], told["wanted"][:DIGITS]
    way = held if held == wanted else f"{held} > {wanted}"
    phase = f" {told['phase']}" if told["phase"] not in (None, "idle") else ""
    drift = f", {told['drift']} drifted" if told["drift"] else ""
    return f"{way}{phase}{drift}"


def _ahead(share: dict[str, Any]) -> str:
    made = f"{share['bytes']:,} bytes" if share["bytes"] is not None else "not made yet"
    error = share["error"]
    how = f"{error['name']}: {error['detail']}" if error else made
    boards = f"{share['boards']} waiting board{'' if share['boards'] == 1 else 's'}"
    return f"ahead for {boards}: {share['what']}, {how}"


def _percent(done: int, total: int) -> str:
    return f"{done / total:.0%}" if total else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
