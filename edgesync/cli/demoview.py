"""What `edgesync demo` shows while it goes on, and at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

LOOK_EVERY = 0.5
_NUMBERS = {"fetched", "rate", "left", "on the air", "seconds", "image", "blob", "again"}


class Watched(Protocol):
    """A story of the demo: `attend` is called often, `look` twice a second; `told` grows by a line an event."""

    told: list[str]

    @property
    def elapsed(self) -> float: ...
    @property
    def over(self) -> bool: ...
    def attend(self) -> None: ...
    def look(self) -> None: ...
    def cells(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Headings, and the row of each board."""
        ...


def watch(story: Watched, console: Console, limit: float) -> None:
    """Until the story is over, or `limit` seconds."""
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        looked, printed = 0.0, 0
        while not story.over and story.elapsed < limit:
            story.attend()
            if time.monotonic() - looked >= LOOK_EVERY:
                looked = time.monotonic()
                story.look()
                for line in story.told[printed:]:
                    console.print(line, highlight=False)
                printed = len(story.told)
                live.update(_table(f"{story.elapsed:.0f} s since the push", *story.cells()))
            time.sleep(0.02)
    for line in story.told[printed:]:
        console.print(line, highlight=False)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left")
    for row in rows:
        table.add_row(*row)
    return table


def conclude(summary: Mapping[str, Any], console: Console, place: Path, *, good: bool) -> None:
    """Where every board ended."""
    firmware = [_firmware(row) for row in summary["boards"]]
    headings = ("board", "link", "expected", "confirmed", "seconds", "blob", "on the air", "again")
    console.print(_table("Firmware: where every board ended", headings, firmware))
    size = max(row["image_bytes"] for row in summary["boards"]) / 1e6
    console.print(
        f"The images have {size:.1f} MB. 'blob' is what a board fetched of them, 'on the air' every byte of its link "
        f"both ways at {summary['link_bytes_at'].upper()} level, 'again' what it had to fetch twice.",
        highlight=False,
    )
    if "config" in summary:
        config = [_config(row) for row in summary["config"]]
        columns = ("board", "in force", "seconds", "on the air", "")
        console.print(_table("Config: where every board ended", columns, config))
    if good:
        console.print(f"[green]Every board is where it should be.[/green] {place / 'summary.json'}")
    else:
        console.print(f"[red]Not every board is where it should be.[/red] Logs: {place / 'fleet'}/*.log")


def _firmware(row: Mapping[str, Any]) -> list[str]:
    good = row["confirmed"] == row["expected"]
    return [
        row["id"],
        row["link"],
        row["expected"],
        f"[green]{row['confirmed']}[/green]" if good else f"[red]{row['confirmed'] or 'unknown'}[/red]",
        f"{row['seconds']:.0f}",
        f"{row['blob_bytes'] / 1000:.0f} kB",
        f"{(row['link_bytes_up'] + row['link_bytes_down']) / 1000:.0f} kB",
        f"{row['refetched_bytes'] / 1000:.0f} kB",
    ]


def _config(row: Mapping[str, Any]) -> list[str]:
    colour = "green" if row["good"] else "red"
    return [
        row["id"],
        f"[{colour}]{row['line'] or 'nothing'}[/{colour}]",
        f"{row['seconds']:.1f}",
        f"{(row['link_bytes_up'] + row['link_bytes_down']) / 1000:.1f} kB",
        row["note"] or row["error"],
    ]
