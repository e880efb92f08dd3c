"""`edgesync validate`: check a fleet repository whole."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import edgesync
from edgesync.cli import fleetfiles
from edgesync.wire.errors import EdgesyncError

if TYPE_CHECKING:
    from edgesync.control.parse import Problem
    from edgesync.control.types import Fleet


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "validate",
        help="check a fleet repository",
        description="Check the fleet repository in DIR: the files as they lie there, those that are staged, or those "
        "of a commit. Prints one line for each problem. Exit status 0: there is none; 1: there are some, or the "
        "repository cannot be read.",
        epilog="Images are looked for in DIR/images and DIR/../images unless --images says where, and those that "
        "`edgesync release import` has put into the server's store, in DIR/../server/state/images unless --store says "
        "where. As a hook of git: edgesync validate --staged. Example: edgesync validate lab/fleet --rev HEAD",
    )
    parser.add_argument("directory", type=Path, nargs="?", default=Path(), metavar="DIR", help="default: here")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rev", metavar="REV", default="", help="a commit, branch or tag instead of the working tree")
    which.add_argument(
        "--staged", dest="rev", action="store_const", const=fleetfiles.STAGED, help="what `git commit` would commit"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images directory")
    parser.add_argument("--store", type=Path, metavar="DIR", help="the server's store: images in its state directory")
    fleetfiles.add_profiles(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--sarif", action="store_true", help="as SARIF 2.1.0, for code hosts and editors")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    if not args.sarif:
        return _check(args)
    from edgesync.control.sarif import log

    try:
        return _check(args)
    except EdgesyncError as error:
        print(json.dumps(log([], edgesync.__version__, str(error)), indent=2))
        return 1


def _check(args: argparse.Namespace) -> int:
    from edgesync.control.images import HashCache, ImageStore, check
    from edgesync.control.repository import FleetInvalidError
    from edgesync.control.sarif import log
    from edgesync.control.source import Repository

    images = args.images or fleetfiles.beside(args.directory, "images")
    stored = args.store or fleetfiles.beside(args.directory, "server/state/images")
    store = ImageStore(stored) if stored else None
    fleet: Fleet | None = None
    try:
        fleet = fleetfiles.Loader(Repository(args.directory), args.profiles).load(args.rev)
        problems = check(fleet, images, store, HashCache(_cache())) if images else []
    except FleetInvalidError as error:
        problems = list(error.problems)
    notes = _notes(fleet, images) if fleet and images else []
    notes += [*_waiting(fleet), *_mute(fleet)] if fleet else []
    if args.sarif:
        print(json.dumps(log(problems, edgesync.__version__), indent=2))
    elif args.json:
        print(json.dumps({**_value(fleet, problems, images), "notes": notes}, indent=2))
    else:
        for problem in problems:
            print(problem)
        for note in notes:
            print(f"note: {note}")
        print(_summary(fleet, problems, images))
    return 1 if problems else 0


def _notes(fleet: Fleet, images: Path) -> list[str]:
    """What compression costs in the images that are there. `edgesync delta make` measures it for a pair."""
    from edgesync.delta.advice import price

    notes = []
    for release in fleet.releases.values():
        for image in release.images.values():
            path = images / image.path
            costs = price(path) if path.is_file() else ()
            notes += [f"{image.file}:{image.line}: images.{image.component}.path: {cost}" for cost in costs]
    return sorted(notes)


def _waiting(fleet: Fleet) -> Iterator[str]:
    """Config that the board's own release does not bring the firmware for: not wrong, but it will wait."""
    from edgesync.control.desired import compile_fleet
    from edgesync.wire import versions
    from edgesync.wire.ids import board_of

    boards: dict[tuple[str, str, str], list[str]] = {}
    for wanted in compile_fleet(fleet).values():
        if wanted.config is None or not wanted.config.requires or not wanted.images:
            continue
        requires = versions.parse(wanted.config.requires)
        version = wanted.images[requires.component].version
        if not requires.accepts(version):
            boards.setdefault((str(requires), wanted.release, version), []).append(board_of(wanted.device))
    for (requires_text, release, version), names in sorted(boards.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        brings = f"its release {release} brings version {version}"
        yield f"config of board {names[0]}{more}: requires {requires_text}, and waits, because {brings}"


def _mute(fleet: Fleet) -> Iterator[str]:
    """Boards whose budget does not last for staying connected: not wrong, but they leave before the month turns."""
    from edgesync.control.desired import compile_fleet
    from edgesync.control.policies import SIGNS_OF_LIFE
    from edgesync.wire.ids import board_of

    boards: dict[int, list[str]] = {}
    for wanted in compile_fleet(fleet).values():
        if 0 < wanted.manners.budget < SIGNS_OF_LIFE and not wanted.manners.check_in:
            boards.setdefault(wanted.manners.budget, []).append(board_of(wanted.device))
    for budget, names in sorted(boards.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield (
            f"byte_budget of board {names[0]}{more}: {budget:,} bytes a month, and staying connected takes about "
            f"{SIGNS_OF_LIFE:,}; with manners.check_in it lasts"
        )


def _cache() -> Path | None:
    """Where digests are remembered; nowhere for a user without a home."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return place / "edgesync" / "image-digests.json" if place.is_absolute() else None


def _summary(fleet: Fleet | None, problems: list[Problem], images: Path | None) -> str:
    from edgesync.control.desired import compile_fleet

    if fleet is None:
        return f"{_count(len(problems), 'problem')}; images are checked when there are none"
    found = _count(len(problems), "problem") if problems else "no problems"
    unchecked = "" if images else "; images not checked, there is no images directory (--images DIR)"
    boards, releases, waves = len(fleet.boards), len(fleet.releases), len(fleet.waves)
    counts = f"{_count(boards, 'board')}, {_count(releases, 'release')}, {_count(waves, 'wave')}"
    wanted = compile_fleet(fleet).values()
    idle = boards - sum(bool(want.images) for want in wanted)
    without = f"; without a release: {_count(idle, 'board')}" if idle else ""
    configs = [want.config for want in wanted if want.config]
    config = (
        f"; config for {_count(len(configs), 'board')}, at most {max(c.length for c in configs)} bytes"
        if configs
        else ""
    )
    return f"fleet {fleet.name}: {counts}: {found}{config}{without}{unchecked}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _value(fleet: Fleet | None, problems: list[Problem], images: Path | None) -> dict[str, object]:
    return {
        "fleet": fleet.name if fleet else None,
        "boards": len(fleet.boards) if fleet else None,
        "configs": len(fleet.configs) if fleet else None,
        "releases": sorted(fleet.releases) if fleet else None,
        "images": str(images) if images and fleet else None,
        "problems": [problem.to_dict() for problem in problems],
    }
