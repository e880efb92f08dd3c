"""What a commit would change, as a table and as the lines of config that differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgesync.cli import client

if TYPE_CHECKING:
    from edgesync.control.changes import Change

Way = Mapping[str, Any] | None
"""Kind, coder and bytes of the blob that the server has for the change of an image, None for none."""

_HEADINGS = ("BOARD", "WAVE", "CHANGE", "FROM", "TO")
_WAY = "BY"
_DIGITS = 12
"""Of a digest: enough to tell images of one version apart."""
_TEXTS_LIMIT = 50
"""Different texts that are shown: a template of each board's own name has one for each."""


def table(changes: Sequence[Change], ways: Sequence[Way] = ()) -> str:
    """Equal changes of several boards in one line, in the order of the first board of each; `ways` has for each change
    what the server sends for it, or is empty.
    """
    if not changes:
        return "no board would change"
    boards: dict[tuple[str, ...], list[str]] = {}
    for number, change in enumerate(changes):
        way = (_way(change, ways[number]),) if ways else ()
        boards.setdefault((*_row(change), *way), []).append(change.device)
    headings = (*_HEADINGS, *((_WAY,) if ways else ()))
    rows = [headings, *((_some(devices), *row) for row, devices in boards.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    count = len({change.device for change in changes})
    return "\n".join([*lines, "", f"{count} board{'' if count == 1 else 's'} would change"])


def _row(change: Change) -> tuple[str, str, str, str]:
    """Wave, change, from, to."""
    match change.kind:
        case "type" | "key":
            return change.wave, f"its {change.kind}", "", ""
        case "file":
            return change.wave, f"config {change.name}", *_file(change.old, change.new)
        case "setting" | "manners":
            return change.wave, f"{change.kind} {change.name}", str(change.old or "-"), str(change.new or "-")
    what = f"board {change.kind}" if change.kind != "image" else ""
    text = ", ".join(part for part in (what, change.name) if part)
    return change.wave, text, _image(change.old), _image(change.new)


def _way(change: Change, way: Way) -> str:
    if change.kind != "image" or change.new is None:
        return ""
    return f"{client.kind_of(way)}, {way['bytes']:,} bytes" if way else "not made yet"


def _image(image: object) -> str:
    from edgesync.control.types import Image

    return f"{image.version} ({image.sha256[:_DIGITS]})" if isinstance(image, Image) else "-"


def _file(old: object, new: object) -> tuple[str, str]:
    """What becomes of a file. Its size and digest are not in it: where a template makes them, each board has others."""
    from edgesync.wire.bundle import BundleFile

    was, now = (f"{file.mode:04o}" if isinstance(file, BundleFile) else "-" for file in (old, new))
    return was, now if was != now else "other content"


def _some(devices: list[str]) -> str:
    return devices[0] if len(devices) == 1 else f"{devices[0]} and {len(devices) - 1} more"


def texts(changes: Iterable[Change]) -> Iterator[str]:
    """Unified diffs of the files of config: each different one once, with a board that gets it, and at most so many."""
    from edgesync.wire.bundle import BundleFile

    boards: dict[tuple[str, bytes | None, bytes | None], list[str]] = {}
    for change in changes:
        if change.kind == "file":
            old, new = (file.data if isinstance(file, BundleFile) else None for file in (change.old, change.new))
            if old != new:
                boards.setdefault((change.name, old, new), []).append(change.device)
    for number, ((path, old, new), devices) in enumerate(boards.items()):
        if number == _TEXTS_LIMIT:
            yield f"\n{len(boards) - number} more files differ (--json names them all)"
            return
        yield f"\n{path} of {_some(devices)}"
        yield from _text(path, old, new)


def _text(path: str, old: bytes | None, new: bytes | None) -> Iterator[str]:
    try:
        was, now = (data.decode().splitlines() if data is not None else [] for data in (old, new))
    except UnicodeDecodeError:
        yield "binary, and other content than before"
        return
    from edgesync.control.parse import printable

    before, after = ("/dev/null" if data is None else path for data in (old, new))
    for line in difflib.unified_diff(was, now, before, after, lineterm=""):
        yield "\t".join(map(printable, line.split("\t")))
