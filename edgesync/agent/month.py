"""The calendar month of a board's link: when it turns, and what went where in it. Pure.

Times are seconds since 1970; months are those of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from edgesync.wire import fields

LAST = int(datetime(9999, 12, 1, tzinfo=timezone.utc).timestamp()) - 1
"""The newest moment whose month has an end that can be written: a clock that says more says this."""


def begin_of(now: int) -> int:
    """The first second of the month of `now`."""
    return _first(datetime.fromtimestamp(min(now, LAST), timezone.utc))


def end_of(now: int) -> int:
    """The first second of the next month."""
    return _first(datetime.fromtimestamp(begin_of(now), timezone.utc) + timedelta(days=31))


def day_of(now: int) -> str:
    """As people write it: 2026-12-01."""
    return datetime.fromtimestamp(min(now, LAST + 1), timezone.utc).strftime("%Y-%m-%d")


def _first(day: datetime) -> int:
    return int(day.replace(day=1, hour=0, minute=0, second=0).timestamp())


@dataclass(frozen=True, slots=True)
class Month:
    """Bytes since `begin`. `total` is what the link carried at IP level, both ways; the others are the MQTT payload in
    it by purpose, and what is in none of them went into headers, TLS, handshakes and keepalive.
    """

    begin: int = 0
    total: int = 0
    blob: int = 0
    refetched: int = 0
    metadata: int = 0
    reported: int = 0
    config: int = 0
    telemetry: int = 0

    def at(self, now: int) -> Month:
        """The month of this moment: another one begins at nothing, and none ever comes back. What was counted before
        anyone knew the time belongs to the first.
        """
        begin = begin_of(now)
        if begin > self.begin > 0:
            return Month(begin)
        return replace(self, begin=max(begin, self.begin))

    def plus(self, **more: int) -> Month:
        """With so many bytes more. A negative count takes back what was counted earlier, in this month."""
        return replace(self, **{name: max(0, getattr(self, name) + count) for name, count in more.items()})

    def to_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in Month.__slots__}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Month:
        return Month(**{name: fields.integer(value, name, 0) for name in Month.__slots__})
