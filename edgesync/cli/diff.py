"""`edgesync diff`: what a commit would change on each board."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesync.cli import client

if TYPE_CHECKING:
    from edgesync.control.desired import Change
    from edgesync.control.source import Repository
    from edgesync.control.types import Fleet, Image

_HEADINGS = ("BOARD", "WAVE", "CHANGE", "FROM", "TO")
_WAY = "BY"
_DIGITS = 12
"""Of a digest: enough to tell images of one version apart."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "diff",
        help="show what a commit would change on each board",
        description="Compare two states of the fleet repository and show what each board would get: without REVS the "
        "working tree with HEAD, with REV the working tree with that commit, with REV1..REV2 two commits. In a bare "
        "repository HEAD stands for the working tree. With --config or --socket: what the server sends for it.",
        epilog="Example, what the newest commit changed: edgesync diff -C lab/fleet HEAD~1..HEAD",
    )
    parser.add_argument("revs", nargs="?", default="HEAD", metavar="REVS", help="REV or REV1..REV2 (default: HEAD)")
    parser.add_argument(
        "-C", dest="directory", type=Path, default=Path(), metavar="DIR", help="the fleet repository (default: here)"
    )
    client.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from edgesync.control.desired import changes
    from edgesync.control.repository import FleetInvalidError
    from edgesync.control.source import Repository

    repository = Repository(args.directory)
    first, dots, second = args.revs.partition("..")
    fleets = []
    for rev in (first or "HEAD", (second or "HEAD") if dots else ""):
        try:
            fleets.append(_fleet(repository, rev))
        except FleetInvalidError as error:
            for problem in error.problems:
                print(problem, file=sys.stderr)
            print(f"nothing to compare: {rev or 'the working tree'} is not a valid fleet", file=sys.stderr)
            return 1
    found = changes(*fleets)
    ways = _ways(found, client.connect(args)) if args.config or args.socket else []
    if args.json:
        shown = [change.to_dict() for change in found]
        print(
            json.dumps([{**row, "way": way} for row, way in zip(shown, ways, strict=True)] if ways else shown, indent=2)
        )
    else:
        print(_table(found, ways))
    return 0


def _ways(changes: list[Change], server: client.Client) -> list[dict[str, Any] | None]:
    """For each change of an image the smallest blob that the server has for it, or None."""
    made: dict[tuple[str, str | None], dict[str, Any]] = {
        (blob["result"], blob["base"]): blob for blob in server.get("/v1/blobs")["blobs"]
    }
    ways: list[dict[str, Any] | None] = []
    for change in changes:
        old, new = change.old, change.new
        bases = (old.sha256, None) if old else (None,)
        blobs = [made[new.sha256, base] for base in bases if (new.sha256, base) in made] if new else []
        best = min(blobs, key=lambda blob: int(blob["bytes"]), default=None)
        ways.append({"kind": best["kind"], "bytes": best["bytes"]} if best else None)
    return ways


def _fleet(repository: Repository, rev: str) -> Fleet:
    from edgesync.control.repository import known_types, load

    return load(repository.files(rev) if rev else repository.current_files(), rev, known_types())


def _table(changes: list[Change], ways: list[dict[str, Any] | None]) -> str:
    if not changes:
        return "no board would change"
    rows: list[tuple[str, ...]] = [_HEADINGS, *(_row(change) for change in changes)]
    if ways:
        cells = [_WAY, *(_way(change, way) for change, way in zip(changes, ways, strict=True))]
        rows = [(*row, cell) for row, cell in zip(rows, cells, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    boards = len({change.device for change in changes})
    return "\n".join([*lines, "", f"{boards} board{'' if boards == 1 else 's'} would change"])


def _row(change: Change) -> tuple[str, str, str, str, str]:
    if change.kind in ("type", "key"):
        return change.device, change.wave, f"its {change.kind}", "", ""
    what = f"board {change.kind}" if change.kind != "image" else ""
    text = ", ".join(part for part in (what, change.component) if part)
    return change.device, change.wave, text, _image(change.old), _image(change.new)


def _way(change: Change, way: dict[str, Any] | None) -> str:
    if change.new is None:
        return ""
    return f"{way['kind']}, {way['bytes']:,} bytes" if way else "not made yet"


def _image(image: Image | None) -> str:
    return f"{image.version} ({image.sha256[:_DIGITS]})" if image else "-"
