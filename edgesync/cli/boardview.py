"""One board on the screen: how it stands, and every way to what it shall run with what speaks for or against it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgesync.cli import client

if TYPE_CHECKING:
    from rich.console import RenderableType

_DIGITS = 12
"""Of a digest: enough to tell images of one version apart."""
_ROLLOUTS = 5


def render(board: dict[str, Any]) -> RenderableType:
    """A board as `GET /v1/boards/<device>` gives it, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    phase = f", {board['phase']}" if board["phase"] else ", never heard of"
    lines = [
        Text(f"{board['device']}  {board['status']}{phase}  release {board['release'] or '(none)'}", "bold"),
        Text(f"{board['sync']}, {board['health']} for {_duration(time.time() - board['since'])}"),
    ]
    if board["total"]:
        lines.append(Text(f"{board['done']:,} of {board['total']:,} bytes fetched"))
    if board["error"]:
        lines.append(Text(f"{board['error']['name']}: {board['error']['detail']}".rstrip(": "), "red"))
    if board["waits"]:
        lines.append(Text(f"waits: {board['waits']}", "yellow"))
    lines += [Text(line) for line in (*_config(board), *_budget(board))]
    lines += [
        Text(f"quarantine: {digest[:_DIGITS]} failed here, and is not tried again", "yellow")
        for digest in board["quarantine"]
    ]
    lines += [Text(line) for line in _rollouts(board)]
    if not board["ways"]:
        return Group(*lines, Text("it holds the images that it shall run: no firmware to send"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("component", "way"):
        table.add_column(name, no_wrap=True)
    for name in ("bytes", "CPU"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for way in board["ways"]:
        table.add_row(*_row(way), style="green" if way["chosen"] else "")
    return Group(*lines, Text(), table)


def _config(board: dict[str, Any]) -> Iterator[str]:
    config, source = board["config"], board["config_source"]
    if config is None:
        return
    held = config["held"][:_DIGITS] if config["held"] else "none"
    if config["held"] == config["wanted"]:
        drift = f"{config['drift']} files changed by hand" if config["drift"] else "no drift"
        yield f"config {held}, {drift}"
    else:
        phase = config["phase"] or "not told of yet"
        requires = f", requires {board['requires']}" if board["requires"] else ""
        yield f"config {held}, shall be {config['wanted'][:_DIGITS]}{requires}: {phase}"
        if source:
            base = f" from {source['base'][:_DIGITS]}" if source.get("base") else ""
            yield f"  sent as a {source['kind']}{base} of {source['length']:,} bytes"


def _budget(board: dict[str, Any]) -> Iterator[str]:
    if board["budget_left"] is not None:
        yield f"{board['month']:,} bytes this month, {board['budget_left']:,} left of its budget"


def _rollouts(board: dict[str, Any]) -> Iterator[str]:
    """The last ones, newest first: which commit did what here."""
    for part in board["rollouts"][:_ROLLOUTS]:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(part["started"]))
        yield f"{when}Z {part['revision'][:8]} {part['subject']}: {part['status']} {part['error']}".rstrip()


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    hours, days = minutes // 60, minutes // 1440
    return f"{days} days" if days > 1 else f"{hours} h" if hours else f"{minutes} min"


def _row(way: dict[str, Any]) -> tuple[str, ...]:
    origin = f" from {way['base'][:_DIGITS]}" if way["base"] else ""
    return (
        way["component"],
        f"{client.kind_of(way)}{origin}",
        f"{way['bytes']:,}" if way["bytes"] is not None else "not made",
        f"{way['seconds']:,.0f} s",
        "chosen" if way["chosen"] else f"no: {way['against']}",
    )
