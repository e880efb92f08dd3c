"""Keys as in the Collector's `filelog`, of which this is a part; `buffer_size` and `parse` are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import AnyStr, Literal

from collector_ext.receiver.filelog import patterns
from collector_ext.settings.durations import Duration
from collector_ext.settings.sizes import ByteSize
from edgesync.wire.errors import ConfigError

FINGERPRINT_LEAST = 16
"""Bytes, as in the Collector."""
PARTS = 4
"""The buffer holds so many of the longest entries at least, so that one file never waits for the other's."""


@dataclass(frozen=True, slots=True)
class Multiline:
    """At most one of the two, regular expressions of Python's `re`; `^` and `$` are those of lines."""

    line_start_pattern: str = ""
    line_end_pattern: str = ""

    def validate(self) -> None:
        if self.line_start_pattern and self.line_end_pattern:
            raise ConfigError("only one of line_start_pattern or line_end_pattern can be set")
        expression("line_start_pattern", self.line_start_pattern.encode())
        expression("line_end_pattern", self.line_end_pattern.encode())


@dataclass(frozen=True, slots=True)
class Parse:
    """`regex` with named groups: `time`, `severity` and `body` fill the record, all others become attributes.
    `layout` is strptime's; "" reads ISO 8601. A time without an offset is UTC.
    """

    regex: str = ""
    layout: str = ""

    def validate(self) -> None:
        found = expression("regex", self.regex)
        if self.regex and not found.groupindex:
            raise ConfigError("regex: there is no named group in it: (?P<body>...)")
        if self.layout and "time" not in found.groupindex:
            raise ConfigError("layout: regex has no group (?P<time>...)")


@dataclass(frozen=True, slots=True)
class FileLogConfig:
    """`buffer_size` bytes hold what was read and not yet taken; they are allocated once. `storage` is a directory for
    the positions; "" keeps them in memory, and a restart begins as `start_at` says.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    start_at: Literal["beginning", "end"] = "end"
    storage: str = ""
    poll_interval: Duration = Duration(1.0)
    force_flush_period: Duration = Duration(0.5)
    max_log_size: ByteSize = ByteSize(16 * 1024)
    buffer_size: ByteSize = ByteSize(256 * 1024)
    fingerprint_size: ByteSize = ByteSize(1000)
    max_concurrent_files: int = 100
    encoding: Literal["utf-8"] = "utf-8"
    include_file_name: bool = True
    include_file_path: bool = False
    multiline: Multiline = field(default_factory=Multiline)
    parse: Parse = field(default_factory=Parse)
    attributes: Mapping[str, str] = field(default_factory=dict)
    resource: Mapping[str, str] = field(default_factory=dict)

    def validate(self) -> None:
        if not self.include:
            raise ConfigError("include: required argument is empty")
        for name in ("include", "exclude"):
            patterns.check(name, getattr(self, name))
        if not 0.01 <= self.poll_interval <= 3600:
            raise ConfigError(f"poll_interval: found {self.poll_interval:g}s, expected 10ms to 1h")
        if self.force_flush_period < 0:
            raise ConfigError(f"force_flush_period: found {self.force_flush_period:g}s, expected 0s or more")
        _within("max_log_size", self.max_log_size, 64, 1 << 30, " bytes")
        _within("buffer_size", self.buffer_size, PARTS * self.max_log_size, 1 << 32, " bytes")
        _within("fingerprint_size", self.fingerprint_size, FINGERPRINT_LEAST, 64 * 1024, " bytes")
        _within("max_concurrent_files", self.max_concurrent_files, 2, 100_000)


def expression(name: str, text: AnyStr) -> re.Pattern[AnyStr]:
    """Compiled. Raises ConfigError."""
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as error:
        raise ConfigError(f"{name}: {error}") from error


def _within(name: str, found: int, least: int, most: int, unit: str = "") -> None:
    if not least <= found <= most:
        raise ConfigError(f"{name}: found {found}, expected {least} to {most}{unit}")
