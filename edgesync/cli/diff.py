"""`edgesync diff`: what a commit would change on each board."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesync.control.desired import Change
    from edgesync.control.source import Repository
    from edgesync.control.types import Fleet, Image

_HEADINGS = ("BOARD", "WAVE", "CHANGE", "FROM", "TO")
_DIGITS = 12
"""Of a digest: enough to tell images of one version apart."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "diff",
        help="show what a commit would change on each board",
        description="Compare two states of the fleet repository and show what each board would get: without REVS the "
        "working tree with HEAD, with REV the working tree with that commit, with REV1..REV2 two commits. In a bare "
        "repository HEAD stands for the working tree.",
        epilog="Example, what the newest commit changed: edgesync diff -C lab/fleet HEAD~1..HEAD",
    )
    parser.add_argument("revs", nargs="?", default="HEAD", metavar="REVS", help="REV or REV1..REV2 (default: HEAD)")
    parser.add_argument(
        "-C", dest="directory", type=Path, default=Path(), metavar="DIR", help="the fleet repository (default: here)"
    )
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
    print(json.dumps([change.to_dict() for change in found], indent=2) if args.json else _table(found))
    return 0


def _fleet(repository: Repository, rev: str) -> Fleet:
    from edgesync.control.repository import known_types, load

    return load(repository.files(rev) if rev else repository.current_files(), rev, known_types())


def _table(changes: list[Change]) -> str:
    if not changes:
        return "no board would change"
    rows = [_HEADINGS, *(_row(change) for change in changes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    boards = len({change.device for change in changes})
    return "\n".join([*lines, "", f"{boards} board{'' if boards == 1 else 's'} would change"])


def _row(change: Change) -> tuple[str, str, str, str, str]:
    if change.kind in ("type", "key"):
        return change.device, change.wave, f"its {change.kind}", "", ""
    what = f"board {change.kind}" if change.kind != "image" else ""
    text = ", ".join(part for part in (what, change.component) if part)
    return change.device, change.wave, text, _image(change.old), _image(change.new)


def _image(image: Image | None) -> str:
    return f"{image.version} ({image.sha256[:_DIGITS]})" if image else "-"
