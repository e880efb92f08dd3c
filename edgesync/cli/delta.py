"""`edgesync delta`: make, apply, look at and try deltas between images, as the server and the boards do."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesync.delta.api import Info

_EPILOG = """\
OLD, NEW and D are files or block devices. Example:
  edgesync delta make firmware-v1.img firmware-v2.img -o v1-v2.esd
  edgesync delta apply firmware-v1.img v1-v2.esd -o built.img
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "delta",
        help="make, apply, show and verify deltas between images",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    verb = verbs.add_parser(
        "make",
        help="the delta from OLD to NEW",
        description="Make the delta from OLD to NEW and prove it by applying it. Says what compressed parts of the "
        "images cost, and how to build them instead.",
    )
    verb.add_argument("old", metavar="OLD")
    verb.add_argument("new", metavar="NEW")
    verb.add_argument("-o", "--output", required=True, metavar="D")
    verb.add_argument(
        "--coder",
        choices=("mixing", "lzma"),
        help="mixing: smaller, for boards that have the context-mixing coder; lzma: for every board (default: mixing "
        "where it is installed)",
    )
    verb.add_argument("--no-measure", action="store_true", help="name compressed parts, but make no delta without them")
    verb.add_argument("--json", action="store_true", help="as JSON")
    verb.set_defaults(func=_make)

    verb = verbs.add_parser(
        "apply",
        help="the image that D makes of OLD",
        description="Write the image that D makes of OLD. A file appears whole or not at all; a block device is "
        "written in place and read back.",
    )
    verb.add_argument("old", metavar="OLD")
    verb.add_argument("delta", metavar="D")
    verb.add_argument("-o", "--output", required=True, metavar="NEW")
    verb.set_defaults(func=_apply)

    verb = verbs.add_parser(
        "info",
        help="what D is for",
        description="Show which images D lies between, its size, and the coder that a board needs: lzma is on every "
        "board, mixing is not.",
    )
    verb.add_argument("delta", metavar="D")
    verb.add_argument("--json", action="store_true", help="as JSON")
    verb.set_defaults(func=_info)

    verb = verbs.add_parser(
        "verify",
        help="apply D to OLD and keep nothing",
        description="Apply D to OLD into an unnamed file in $TMPDIR and check the result. Exit status 0: D is good.",
    )
    verb.add_argument("old", metavar="OLD")
    verb.add_argument("delta", metavar="D")
    verb.set_defaults(func=_verify)


def _make(args: argparse.Namespace) -> int:
    from edgesync.cli.progress import progress_line, sigterm_interrupts
    from edgesync.delta import advice, api

    with sigterm_interrupts():
        with progress_line() as progress:
            found = api.make(args.old, args.new, args.output, progress, coder=args.coder)
        if not args.json:  # what is done is told before what it could have been is measured
            print(f"{args.output}: {_summary(found)}", flush=True)
        with progress_line() as progress:
            costs = advice.advise(
                args.old,
                args.new,
                lambda phase, done, total: progress(f"measure what compression costs: {phase}", done, total),
                measure=not args.no_measure,
                coder=args.coder,
            )
    if args.json:
        print(json.dumps({**found.to_dict(), "compressed": [cost.to_dict() for cost in costs]}, indent=2))
        return 0
    for cost in costs:
        print(f"note: {cost}", file=sys.stderr)
    return 0


def _apply(args: argparse.Namespace) -> int:
    from edgesync.cli.progress import progress_line, sigterm_interrupts
    from edgesync.delta import api

    with sigterm_interrupts(), progress_line() as progress:
        found = api.apply(args.old, args.delta, args.output, progress)
    print(f"{args.output}: {found.result_length} bytes, SHA-256 {found.result_hash}...")
    return 0


def _info(args: argparse.Namespace) -> int:
    from edgesync.delta import api

    found = api.info(args.delta)
    if args.json:
        print(json.dumps(found.to_dict(), indent=2))
        return 0
    print(f"{args.delta}: {_summary(found)}")
    print(f"base    {found.base_length:>12} bytes  SHA-256 {found.base_hash}...")
    print(f"result  {found.result_length:>12} bytes  SHA-256 {found.result_hash}...")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from edgesync.cli.progress import progress_line, sigterm_interrupts
    from edgesync.delta import api

    with sigterm_interrupts(), progress_line() as progress:
        found = api.verify(args.old, args.delta, progress)
    print(f"{args.delta}: good; it makes {found.result_length} bytes with SHA-256 {found.result_hash}...")
    return 0


def _summary(found: Info) -> str:
    share = f", {100 * found.length / found.result_length:.2f} % of the image" if found.result_length else ""
    parts = "1 segment" if found.segments == 1 else f"{found.segments} segments"
    return f"{found.length} bytes{share}, in {parts}, coder {found.coder}"
