"""`edgesync rollback`: a commit that takes the fleet back to what an earlier one said."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgesync.cli import fleetfiles
from edgesync.cli.difftable import table


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "rollback",
        help="commit what an earlier commit said",
        description="Make a new commit on the current branch whose fleet.yaml, releases/ and config/ are those of REV. "
        "boards/ stays as it is: a board that was added since, or has another key, is still there. The server follows "
        "the new commit like any other; what failed on a board stays in quarantine there.",
        epilog="The author is whoever git says that you are; where git signs your commits, this one is signed too. "
        "Example: edgesync rollback HEAD~1 -C lab/fleet --dry-run",
    )
    parser.add_argument("rev", metavar="REV", help="a commit, branch or tag")
    parser.add_argument(
        "-C", dest="directory", type=Path, default=Path(), metavar="DIR", help="the fleet repository (default: here)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and commit nothing")
    fleetfiles.add_profiles(parser)
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from edgesync.control import hooks
    from edgesync.control.changes import changes
    from edgesync.control.git import Git
    from edgesync.control.repository import FleetInvalidError
    from edgesync.control.rollback import Rollback
    from edgesync.control.source import Repository

    rollback = Rollback(Git(args.directory), args.rev)
    commit = rollback.prepare()
    loader = fleetfiles.Loader(Repository(args.directory), args.profiles)
    try:
        fleet = loader.load(commit)
    except FleetInvalidError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"nothing was committed: with today's boards, {args.rev} is not a valid fleet", file=sys.stderr)
        return 1
    try:
        print(table(changes(loader.load(rollback.head), fleet)))
    except FleetInvalidError:
        print("what would change cannot be told: the branch is not a valid fleet as it is")
    if args.dry_run:
        return 0
    rollback.commit(commit)
    hooks.knock(Git(args.directory))
    print(f"{rollback.branch} is now {commit[:12]}, with fleet.yaml, releases and config of {rollback.target[:12]}")
    return 0
