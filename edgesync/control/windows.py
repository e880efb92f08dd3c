"""When boards may be offered something new: a fleet's windows against the clock. Pure, but for the time zone data that
`zoneinfo` reads once.

Where windows of kind "allow" match a board, one of them has to be open; and none of kind "deny" may be. A window is
told in local time, so an hour that the clocks skip is missing from it, and one that they repeat is in it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from edgesync.control.types import Labels, Window

AHEAD = 8
"""Days that are searched for the next opening: a week, and the day that a window may take from the next."""


def closed(windows: Iterable[Window], labels: Labels, now: float) -> str:
    """Why a board with these labels is offered nothing at `now` (unix seconds), for people; "" where windows let it."""
    matching = [window for window in windows if window.select.matches(labels)]
    reason = _closed(matching, now)
    if not reason:
        return ""
    opens = next((at for at in _moments(matching, now) if not _closed(matching, at)), None)
    if opens is None:
        return f"{reason}; no window opens in the next {AHEAD} days"
    return f"{reason}, until {datetime.fromtimestamp(opens, timezone.utc):%Y-%m-%d %H:%M}Z"


def is_open(window: Window, now: float) -> bool:
    """True within the window: from its start up to, and not including, its end."""
    local = datetime.fromtimestamp(now, ZoneInfo(window.timezone))
    minute, today = local.hour * 60 + local.minute, local.weekday()
    if window.start < window.end:
        return today in window.days and window.start <= minute < window.end
    began_today = today in window.days and minute >= window.start
    return began_today or ((today - 1) % 7 in window.days and minute < window.end)


def _closed(matching: Sequence[Window], now: float) -> str:
    for window in matching:
        if window.kind == "deny" and is_open(window, now):
            return f"window {window.name} denies it"
    allowing = [window for window in matching if window.kind == "allow"]
    if not allowing or any(is_open(window, now) for window in allowing):
        return ""
    return f"outside of window {' and '.join(window.name for window in allowing)}"


def _moments(matching: Iterable[Window], now: float) -> Iterator[float]:
    """When any of the windows may open or close within `AHEAD` days, in order."""
    found = set()
    for window in matching:
        zone = ZoneInfo(window.timezone)
        midnight = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        for day in range(AHEAD + 1):
            for minute in (window.start, window.end):
                wall = midnight + timedelta(days=day, minutes=minute)
                # An hour that is skipped or repeated has two readings.
                found |= {wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1)}
    return iter(sorted(at for at in found if at > now))
