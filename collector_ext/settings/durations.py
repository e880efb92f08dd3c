"""Go's durations: `30s`, `1m30s`, `1.5h`, `100ms`."""

from __future__ import annotations

import re
from typing import NewType

Duration = NewType("Duration", float)
"""Seconds. A config field of this type is written as a Go duration."""

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LIMIT = 292 * 365 * 86400.0
"""Seconds: what Go's 64 bits of nanoseconds hold."""
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> Duration:
    """Raises ValueError in Go's words."""
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return Duration(0.0)
    seconds, at = 0.0, 0
    while found := _PART.match(rest, at):
        seconds, at = seconds + float(found[1]) * UNITS[found[2]], found.end()
    if not rest or at < len(rest):
        left = rest[at:]
        why = "missing unit in" if left and re.fullmatch(r"[0-9.]+", left) else "invalid"
        raise ValueError(f"time: {why} duration {text[:60]!r}")
    if seconds > LIMIT:
        raise ValueError(f"time: invalid duration {text[:60]!r}")
    return Duration(sign * seconds)
