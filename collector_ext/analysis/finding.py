"""The answer of an analysis: who, why, and what says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject` is a board, a release or a rollout; `cause` one of the words that the analysis documents."""

    subject: str
    cause: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.cause} ({self.evidence})" if self.cause else self.evidence


def so_many(boards: int) -> str:
    """As it stands in a sentence: "1 board", "20 boards"."""
    return f"{boards} board" if boards == 1 else f"{boards} boards"


NOTHING = Finding("", "", "nothing stands out")
