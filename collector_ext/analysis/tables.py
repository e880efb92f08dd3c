"""Frames as a report shows them: times to the second, numbers to three digits, columns in words with their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shown(frame: Any, columns: Mapping[str, str]) -> Any:
    """These columns of a frame, each by the name that people read; the index keeps its own."""
    made = frame[list(columns)].copy()
    for name in made.columns:
        if made[name].dtype.kind == "M":
            made[name] = made[name].dt.strftime("%Y-%m-%d %H:%M:%S").fillna("")
        elif made[name].dtype.kind == "f":
            made[name] = [_number(value) for value in made[name]]
    # pandas gives the index's name a row of its own; as the columns' name it stands in the corner.
    return made.rename(columns=columns).rename_axis(index=None, columns=made.index.name)


def _number(value: float) -> str:
    """Three digits, or all before the point; nothing for none."""
    if value != value:  # noqa: PLR0124 - the definition of NaN
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
