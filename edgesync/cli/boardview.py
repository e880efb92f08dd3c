"""One board on the screen: how it stands, and every way to what it shall run with what speaks for or against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

_DIGITS = 12
"""Of a digest: enough to tell images of one version apart."""


def render(board: dict[str, Any]) -> RenderableType:
    """A board as `GET /v1/boards/<device>` gives it, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    phase = f", {board['phase']}" if board["phase"] else ", never heard of"
    lines = [Text(f"{board['device']}  {board['status']}{phase}  release {board['release']}", "bold")]
    if board["total"]:
        lines.append(Text(f"{board['done']:,} of {board['total']:,} bytes fetched"))
    if board["error"]:
        lines.append(Text(f"{board['error']['name']}: {board['error']['detail']}".rstrip(": "), "red"))
    if not board["ways"]:
        return Group(*lines, Text("it holds what it shall run: nothing to send"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("component", "way"):
        table.add_column(name, no_wrap=True)
    for name in ("bytes", "CPU"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for way in board["ways"]:
        table.add_row(*_row(way), style="green" if way["chosen"] else "")
    return Group(*lines, Text(), table)


def _row(way: dict[str, Any]) -> tuple[str, ...]:
    origin = f" from {way['base'][:_DIGITS]}" if way["base"] else ""
    return (
        way["component"],
        f"{way['kind']}{origin}",
        f"{way['bytes']:,}" if way["bytes"] is not None else "not made",
        f"{way['seconds']:,.0f} s",
        "chosen" if way["chosen"] else f"no: {way['against']}",
    )
