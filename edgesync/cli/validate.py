"""`edgesync validate`: check a fleet repository whole."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesync.control.parse import Problem
    from edgesync.control.types import Fleet


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "validate",
        help="check a fleet repository",
        description="Check the fleet repository in DIR: the files as they lie there, or those of a commit. Prints one "
        "line for each problem and exits with 1 if there is any.",
        epilog="Images are looked for in DIR/images and DIR/../images unless --images says where. "
        "Example: edgesync validate lab/fleet --rev HEAD",
    )
    parser.add_argument("directory", type=Path, nargs="?", default=Path(), metavar="DIR", help="default: here")
    parser.add_argument("--rev", metavar="REV", help="a commit, branch or tag instead of the working tree")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images directory")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from edgesync.control.images import HashCache, check
    from edgesync.control.repository import FleetInvalidError, known_types, load
    from edgesync.control.source import Repository

    repository = Repository(args.directory)
    files = repository.files(args.rev) if args.rev else repository.current_files()
    images = args.images or _images_beside(args.directory)
    fleet: Fleet | None = None
    try:
        fleet = load(files, args.rev or "", known_types())
        problems = check(fleet, images, cache=HashCache(_cache())) if images else []
    except FleetInvalidError as error:
        problems = list(error.problems)
    notes = _notes(fleet, images) if fleet and images else []
    if args.json:
        print(json.dumps({**_value(fleet, problems, images), "notes": notes}, indent=2))
    else:
        for problem in problems:
            print(problem)
        for note in notes:
            print(f"note: {note}")
        print(_summary(fleet, problems, images))
    return 1 if problems else 0


def _images_beside(directory: Path) -> Path | None:
    places = (directory / "images", directory.absolute().parent / "images")
    return next((place for place in places if place.is_dir()), None)


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
    idle = boards - len(compile_fleet(fleet))
    without = f"; without a release: {_count(idle, 'board')}" if idle else ""
    return f"fleet {fleet.name}: {counts}: {found}{without}{unchecked}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _value(fleet: Fleet | None, problems: list[Problem], images: Path | None) -> dict[str, object]:
    return {
        "fleet": fleet.name if fleet else None,
        "boards": len(fleet.boards) if fleet else None,
        "releases": sorted(fleet.releases) if fleet else None,
        "images": str(images) if images and fleet else None,
        "problems": [problem.to_dict() for problem in problems],
    }
