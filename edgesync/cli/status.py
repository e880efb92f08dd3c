"""`edgesync status`: the fleet, or one board, on one screen, now or live, or as JSON."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from edgesync.cli import client
from edgesync.wire.ids import parse_device

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY = 1.0
"""Seconds between two looks with --watch."""

_WHOLE = ("board", "status")

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
        description="Show the revision, the rollout and its waves, and each board: phase, bytes, rate, time left. With "
        "BOARD show that one, and which ways there are to what it shall run: bytes, CPU time, and why not the other.",
        epilog="docs/operations.md describes every word, and the JSON. Example: edgesync status --watch",
    )
    parser.add_argument("board", nargs="?", metavar="BOARD", help="one board, such as demo.b01")
    client.add_arguments(parser)
    parser.add_argument("--watch", action="store_true", help="until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="as JSON; with --watch one line each second")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    server = client.connect(args)
    target = f"/v1/boards/{parse_device(args.board)}" if args.board else "/v1/status"
    if args.json:
        return _json(server, target, watch=args.watch)
    from rich.console import Console
    from rich.live import Live

    from edgesync.cli import boardview

    show = boardview.render if args.board else render
    console = Console()
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

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("board", "wave", "status", "phase"):
        # On a narrow terminal the numbers give way: which board, and how it stands, is what one came for.
        whole = [len(board["device" if name == "board" else name]) for board in status["boards"] if name in _WHOLE]
        table.add_column(name, no_wrap=True, min_width=max(whole, default=0))
    for name in ("bytes", "rate", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    for board in status["boards"]:
        table.add_row(*_row(board, status["rollout"]["waves"]))
    return Group(*(Text(line, style) for line, style in _head(status)), Text(), table)


def _head(status: dict[str, Any]) -> list[tuple[str, str]]:
    rollout = status["rollout"]
    counts = ", ".join(f"{number} {name}" for name, number in rollout["counts"].items()) or "no board takes part"
    waves = " > ".join(f"{w['name']}{'' if w['open'] else ' (closed)'}" for w in rollout["waves"])
    phase = f"{rollout['phase']}{', paused' if rollout['paused'] else ''}"
    lines = [
        (f"fleet {status['fleet']}  revision {rollout['revision'][:12] or '(none yet)'}  {rollout['subject']}", "bold"),
        (f"rollout {rollout['id'] or '(none yet)'}  {phase}  {counts}", ""),
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


def _row(board: dict[str, Any], waves: list[dict[str, Any]]) -> list[Any]:
    from rich.text import Text

    wave = waves[board["wave"]]["name"] if board["wave"] < len(waves) else ""
    error = f"{board['error']['name']}: {board['error']['detail']}".rstrip(": ") if board["error"] else ""
    away = " (away)" if board["up"] is False else ""
    return [
        board["device"],
        wave,
        Text(board["status"], _STYLES.get(board["status"], "")),
        f"{board['phase'] or ''}{away}",
        f"{board['done']:,} / {board['total']:,}" if board["total"] else "",
        f"{board['rate']:,.0f} B/s" if board["rate"] else "",
        _duration(board["left"]) if board["left"] is not None else "",
        Text(error, "red"),
    ]


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
