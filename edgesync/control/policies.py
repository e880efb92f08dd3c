"""How boards use their link and when they may change: the keys `manners` and `windows` of fleet.yaml and boards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edgesync.control.section import DURATIONS, SIZES, Section, did_you_mean
from edgesync.control.types import Selector, Window
from edgesync.wire.messages import Manners

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOWS_LIMIT = 100
RATES = {"bit/s": 1, "kbit/s": 1000, "Mbit/s": 10**6}
SIGNS_OF_LIFE = 9_100_000
"""Bytes that a board which stays connected spends in a month of doing nothing: 204 a minute, by `make bench`."""
NONE = "none"
"""In place of a measure: no limit, or not at all, where a wider level has one."""

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_EXPECTED = "a mapping with check_in, rate_cap, share, defer"


def manners(section: Section, *, budget: bool) -> Mapping[str, int]:
    """What one level says of `Manners`, by the names there; `budget`: whether byte_budget is one of its keys."""
    inside = section.section("manners", _EXPECTED, required=False)
    found = {
        "check_in": _seconds(inside, "check_in", "6 h"),
        "rate": _measured(inside, "rate_cap", RATES, "16 kbit/s", 8),
        "share": _share(inside),
        "defer": _seconds(inside, "defer", "24 h"),
    }
    if budget:
        found["budget"] = byte_budget(inside)
    inside.close()
    return {name: value for name, value in found.items() if value is not None}


def byte_budget(section: Section) -> int | None:
    """Bytes a month, 0 for no limit; None where nothing is said."""
    return _measured(section, "byte_budget", SIZES, "1 MB", 1)


def fleet_manners(section: Section) -> Manners:
    """Those of the fleet, which every board has where its groups and itself say nothing else."""
    return Manners(budget=byte_budget(section) or 0, **manners(section, budget=False))


def written(manners: Manners) -> Mapping[str, str]:
    """Manners as operators write them: key and measure of each that is not as usual."""
    told = {
        "byte_budget": _written(manners.budget, SIZES),
        "check_in": _written(manners.check_in, DURATIONS),
        "rate_cap": _written(manners.rate * 8, RATES),
        "share": f"{manners.share} %" if manners.share != Manners().share else "",
        "defer": _written(manners.defer, DURATIONS),
    }
    return {key: text for key, text in told.items() if text}


def _written(measure: int, units: Mapping[str, int]) -> str:
    """In the unit that leaves the smallest whole number; "" for nothing."""
    number, unit = min((measure // size, unit) for unit, size in units.items() if measure % size == 0)
    return f"{number} {unit}" if measure else ""


def window(section: Section, select: Selector) -> Window:
    """One window, whose selector is read already."""
    name = section.text("name", "the window's name", limit=64)
    days = [day for _, day in section.strings("days", "a list of days such as [mon, fri]", required=False)]
    for day in days:
        if day not in DAYS:
            section.refuse("days", repr(day[:20]), f"days of {', '.join(DAYS)}", did_you_mean(day, DAYS))
    numbers = frozenset(DAYS.index(day) for day in days if day in DAYS)
    start, end = _time(section, "from", "00:00"), _time(section, "to", "00:00")
    timezone = section.text("timezone", "a time zone such as Europe/Berlin", "UTC")
    if not _is_zone(timezone):
        section.refuse("timezone", repr(timezone[:60]), "a time zone of the IANA data base such as Europe/Berlin")
    kind = section.choice("kind", ("allow", "deny"), "allow")
    section.close()
    return Window(
        name, select, numbers or frozenset(range(7)), start, end, timezone, cast(Literal["allow", "deny"], kind)
    )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False  # OSError: a directory of the data base, such as Europe
    return True


def _time(section: Section, key: str, default: str) -> int:
    """Minutes since midnight."""
    expected = 'a time of day such as "22:00"'
    text = section.text(key, expected, default)
    found = _TIME.fullmatch(text)
    if not found:
        section.refuse(key, repr(text[:20]), expected)
        return 0
    return int(found[1]) * 60 + int(found[2])


def _seconds(section: Section, key: str, example: str) -> int | None:
    return _measured(section, key, DURATIONS, example, 1)


def _share(section: Section) -> int | None:
    text = section.text("share", "a part of the link such as '50 %'", "")
    if not text:
        return None
    percent = section.measure("share", text, {"%": 1}, "50 %")
    if percent is None:
        return None
    if not 1 <= percent <= 100 or percent != int(percent):
        section.refuse("share", repr(text), "whole per cent, 1 % to 100 %")
        return None
    return int(percent)


def _measured(section: Section, key: str, units: dict[str, int], example: str, divisor: int) -> int | None:
    """A measure, divided and rounded down; 0 for `none`."""
    text = section.text(key, f"a measure such as {example!r}, or {NONE}", "", 40)
    if not text or text == NONE:
        return 0 if text else None
    value = section.measure(key, text, units, example)
    if value is None:
        return None
    if value < divisor:
        section.refuse(key, repr(text), f"more than nothing, or {NONE}")
        return None
    return int(value / divisor)
