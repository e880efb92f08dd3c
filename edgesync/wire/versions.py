"""Versions of images, and what config may ask of them: `firmware >= 1.10`. Pure.

A version is text that people chose. Runs of digits compare as numbers, everything else as text, piece by piece, so
1.9 < 1.10 and v2-rc1 < v2-rc2; of two that agree as far as the shorter one goes, the shorter one is the older.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, cast

from edgesync.wire.errors import MalformedMessageError

Relation = Literal[">=", ">", "=="]

EXPECTED = "a component, `>=`, `>` or `==`, and a version, such as `firmware >= 1.10`"
LIMIT = 110
"""Characters of a requirement: a component of 32, a version of 64, and what is between them."""

_REQUIREMENT = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?) *(>=|>|==) *([^\s=](?:.{0,62}\S)?)")
_PIECES = re.compile(r"\d+|[^\d.]+")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What config asks of the image of one component."""

    component: str
    relation: Relation
    version: str

    def __str__(self) -> str:
        return f"{self.component} {self.relation} {self.version}"

    def accepts(self, version: str) -> bool:
        """Whether an image of this version will do."""
        order = compare(version, self.version)
        return order > 0 if self.relation == ">" else order == 0 if self.relation == "==" else order >= 0


def parse(text: str) -> Requirement:
    """Raises MalformedMessageError for text that is none."""
    found = _REQUIREMENT.fullmatch(text) if len(text) <= LIMIT else None
    if found is None:
        raise MalformedMessageError(f"requirement: found {text[:60]!r}, expected {EXPECTED}")
    return Requirement(found[1], cast(Relation, found[2]), found[3])


def compare(one: str, other: str) -> int:
    """Below 0 where `one` is older than `other`, 0 where they are equal, above 0 where it is newer."""
    for a, b in zip_longest(_PIECES.findall(one), _PIECES.findall(other)):
        if a is None or b is None:
            return -1 if a is None else 1
        if a.isdigit() and b.isdigit():
            if int(a) != int(b):
                return -1 if int(a) < int(b) else 1
        elif a != b:
            # A number is newer than a word in its place: 1.2 is newer than 1.rc.
            return 1 if a.isdigit() else -1 if b.isdigit() else -1 if a < b else 1
    return 0
