"""`edgesync diff`: what a commit would change on each board."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesync.cli import client, fleetfiles
from edgesync.cli.difftable import Way, table, texts

if TYPE_CHECKING:
    from edgesync.control.changes import Change


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
    fleetfiles.add_profiles(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-p", "--text", action="store_true", help="the lines of config that change, too")
    form.add_argument("--json", action="store_true", help="as JSON, an object for each board and change")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from edgesync.control.changes import changes
    from edgesync.control.repository import FleetInvalidError
    from edgesync.control.source import Repository

    loader = fleetfiles.Loader(Repository(args.directory), args.profiles)
    first, dots, second = args.revs.partition("..")
    fleets = []
    for rev in (first or "HEAD", (second or "HEAD") if dots else ""):
        try:
            fleets.append(loader.load(rev))
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
        print(table(found, ways))
        if args.text:
            print("\n".join(texts(found)))
    return 0


def _ways(changes: list[Change], server: client.Client) -> list[Way]:
    """For each change of an image the smallest blob that the server has for it, or None."""
    from edgesync.control.types import Image

    # The smallest comes last and is kept; of two of one size that which every board can apply.
    blobs = sorted(server.get("/v1/blobs")["blobs"], key=lambda blob: (int(blob["bytes"]), blob["coder"]), reverse=True)
    made: dict[tuple[str, str | None], dict[str, Any]] = {(blob["result"], blob["base"]): blob for blob in blobs}
    ways: list[Way] = []
    for change in changes:
        old, new = (image if isinstance(image, Image) else None for image in (change.old, change.new))
        bases = (old.sha256, None) if old else (None,)
        here = [made[new.sha256, base] for base in bases if (new.sha256, base) in made] if new else []
        best = min(here, key=lambda blob: int(blob["bytes"]), default=None)
        ways.append({name: best[name] for name in ("kind", "coder", "bytes")} if best else None)
    return ways
