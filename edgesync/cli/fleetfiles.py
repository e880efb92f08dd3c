"""The fleet repository as commands read it: which state of it, and what lies beside it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesync.control.source import Repository
    from edgesync.control.types import Fleet, SourceFile

STAGED = ":"
"""In place of a revision: what `git commit` would commit now."""


def add_profiles(parser: argparse.ArgumentParser) -> None:
    """The option for board types of one's own."""
    parser.add_argument(
        "--profiles",
        type=Path,
        metavar="DIR",
        help="board types of your own (default: profiles in the repository or beside it)",
    )


def beside(directory: Path, name: str) -> Path | None:
    """A directory of that name in the repository or beside it."""
    places = (directory / name, directory.absolute().parent / name)
    return next((place for place in places if place.is_dir()), None)


def read(repository: Repository, rev: str) -> Mapping[str, SourceFile]:
    """The files at a revision, in the index (STAGED), or as they lie there ("")."""
    if rev == STAGED:
        return repository.staged_files()
    return repository.files(rev) if rev else repository.current_files()


def load(repository: Repository, rev: str, profiles: Path | None) -> Fleet:
    """The fleet in one state of the repository. Raises FleetInvalidError with every problem."""
    from edgesync.control import repository as reader

    types = reader.known_types(profiles or beside(repository.path, "profiles"))
    return reader.load(read(repository, rev), rev, types)
