"""How figures are shown: a Markdown table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.measure import Figure, shown


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark's figures. `problem` says why it has none, or not all; `failed` whether that is a fault."""

    name: str
    purpose: str
    figures: Sequence[Figure]
    problem: str = ""
    failed: bool = False

    @property
    def ok(self) -> bool:
        return not self.failed and all(figure.ok for figure in self.figures)


def markdown(outcomes: Sequence[Outcome], machine: Mapping[str, str]) -> str:
    lines = ["# Benchmarks", "", ", ".join(f"{key} {value}" for key, value in machine.items()) + "."]
    for outcome in outcomes:
        lines += ["", f"## {outcome.name}", "", outcome.purpose, ""]
        if outcome.problem:
            lines += [f"**{'Failed' if outcome.failed else 'Not measured'}**: {outcome.problem}", ""]
        if outcome.figures:
            lines += ["| figure | value | limit | | conditions |", "|---|---:|---:|---|---|"]
            lines += [_row(figure) for figure in outcome.figures]
    return "\n".join(lines) + "\n"


def write(directory: Path, outcomes: Sequence[Outcome], machine: Mapping[str, str]) -> None:
    """report.md and report.json."""
    (directory / "report.md").write_text(markdown(outcomes, machine))
    report = {
        "machine": machine,
        "ok": all(outcome.ok for outcome in outcomes),
        "benchmarks": [_as_json(outcome) for outcome in outcomes],
    }
    (directory / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _row(figure: Figure) -> str:
    limit = f"{figure.sense} {shown(figure.limit, figure.unit)}" if figure.limit is not None else ""
    verdict = "" if figure.limit is None else "ok" if figure.ok else "**broken**"
    return f"| {figure.name} | {shown(figure.value, figure.unit)} | {limit} | {verdict} | {figure.conditions} |"


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "command": f"python -m tests.bench {outcome.name}",
        "ok": outcome.ok,
        "problem": outcome.problem,
        "figures": [figure.to_dict() for figure in outcome.figures],
    }
