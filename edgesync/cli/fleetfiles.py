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


class Loader:
    """Fleets in some states of one repository; templates that are the same in several are rendered once."""

    def __init__(self, repository: Repository, profiles: Path | None) -> None:
        from edgesync.control.rendering import Remembering
        from edgesync.control.repository import known_types

        self._repository = repository
        self._types = known_types(profiles or beside(repository.path, "profiles"))
        self._render = Remembering()

    def load(self, rev: str, files: Mapping[str, SourceFile] | None = None) -> Fleet:
        """The fleet at a revision, in the index (STAGED), or as it lies there (""); `files` where they are read.
        Raises FleetInvalidError with every problem.
        """
        from edgesync.control.repository import load

        return load(files or self.files(rev), rev, self._types, self._render)

    def files(self, rev: str) -> Mapping[str, SourceFile]:
        """All files of the fleet in that state."""
        if rev == STAGED:
            return self._repository.staged_files()
        return self._repository.files(rev) if rev else self._repository.current_files()
