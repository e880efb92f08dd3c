"""Prometheus' text format 0.0.4, in which metrics are shown to whoever scrapes: escapes and numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def head(name: str, kind: str, text: str) -> str:
    """The lines before a metric's series."""
    told = f"# HELP {name} {_escape(text)}\n" if text else ""
    return f"{told}# TYPE {name} {kind}\n"


def inside(labels: Iterable[tuple[str, str]]) -> str:
    """Labels as they stand between the braces."""
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in labels)


def line(name: str, labels: str, value: float, end: str = "") -> str:
    """One series. `labels` is what `inside` made; `end` stands behind the value: a time."""
    return f"{name}{{{labels}}} {number(value)}{end}\n" if labels else f"{name} {number(value)}{end}\n"


def number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - the definition of NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escape(text).replace('"', '\\"')
