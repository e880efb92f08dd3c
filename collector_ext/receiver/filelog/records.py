"""An entry's bytes as a log record, parsed as far as the configuration says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone

from collector_ext.pdata import LogRecord
from collector_ext.receiver.filelog.config import Parse, expression

NANO = 1_000_000_000
LATEST = 1 << 63
"""Nanoseconds: the year 2262; what says more is no date."""
_WORDS: Mapping[str, int] = {
    word: number
    for number, words in (
        (1, "trace"),
        (5, "debug dbg d 7"),
        (9, "info information inf i 6"),
        (10, "notice n 5"),
        (13, "warn warning w 4"),
        (17, "error err e 3"),
        (18, "critical crit c 2"),
        (19, "alert 1"),
        (21, "fatal f emergency emerg panic 0"),
    )
    for word in words.split()
}
"""Words of loggers and numbers of syslog; OTLP's numbers."""
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?\s*(?:(Z)|([+-])(\d\d):?(\d\d))?")


class Records:
    """What does not match `regex`, or has no time that can be read, is told all the same, as it is."""

    def __init__(self, parse: Parse) -> None:
        self._regex = expression("regex", parse.regex) if parse.regex else None
        self._layout = parse.layout

    def record(self, entry: bytes, attributes: Mapping[str, str], observed: int) -> LogRecord:
        """`observed` in nanoseconds since 1970. Bytes that are no UTF-8 are replaced by U+FFFD."""
        text = entry.decode("utf-8", "replace")
        found = self._regex.search(text) if self._regex else None
        groups = {name: part for name, part in found.groupdict().items() if part is not None} if found else {}
        time = self._time(groups.pop("time", None), observed)
        if not found or time is None:
            return LogRecord(0, text, observed, attributes=attributes)
        word, body = groups.pop("severity", "").strip(), groups.pop("body", text)
        about = {**attributes, **groups} if groups else attributes
        return LogRecord(time, body, observed, _WORDS.get(word.lower(), 0), word, about)

    def _time(self, text: str | None, observed: int) -> int | None:
        """Nanoseconds since 1970, 0 where there is none, None for what cannot be read or is none of our time."""
        if text is None:
            return 0
        try:
            time = self._by_layout(text, observed) if self._layout else iso(text)
        except (ValueError, OverflowError):
            return None
        return time if 0 <= time < LATEST else None

    def _by_layout(self, text: str, observed: int) -> int:
        if "%Y" in self._layout or "%y" in self._layout or "%c" in self._layout:
            return _nanoseconds(datetime.strptime(text, self._layout))  # noqa: DTZ007 - UTC where there is no offset
        # Syslog has no year: it is the one in which the line is not from the future, but for a day of clocks and zones.
        year = datetime.fromtimestamp(observed / NANO, timezone.utc).year
        for candidate in (year, year - 1):
            time = _nanoseconds(datetime.strptime(f"{candidate} {text}", f"%Y {self._layout}"))  # noqa: DTZ007 - as above
            if time <= observed + 86400 * NANO:
                break
        return time


def iso(text: str) -> int:
    """ISO 8601 as loggers write it, to the nanosecond. Raises ValueError."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:60]!r} is no ISO 8601 date and time")
    *date, fraction, _, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, date)
    seconds = _nanoseconds(datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc))
    offset = (int(hours) * 60 + int(minutes)) * 60 if sign else 0
    nanoseconds = int((fraction or "").ljust(9, "0"))
    return seconds + nanoseconds - (-offset if sign == "-" else offset) * NANO


def _nanoseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    since = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86400 + since.seconds) * NANO + since.microseconds * 1000
