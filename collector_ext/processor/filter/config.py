"""The Collector's include and exclude form; OTTL conditions are not understood."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Match:
    """`names` of metrics or spans; whole ones, or regular expressions that match anywhere in the name."""

    match_type: Literal["strict", "regexp"] = "strict"
    names: tuple[str, ...] = ()

    def validate(self) -> None:
        for name in self.names if self.match_type == "regexp" else ():
            try:
                re.compile(name)
            except re.error as error:
                raise ConfigError(f"names: {name[:60]!r} is no regular expression: {error}") from error

    def matches(self, name: str) -> bool:
        if self.match_type == "strict":
            return name in self.names
        return any(re.search(pattern, name) for pattern in self.names)


@dataclass(frozen=True, slots=True)
class Names:
    """Without `include` everything is."""

    include: Match | None = None
    exclude: Match | None = None

    def passes(self, name: str) -> bool:
        included = self.include is None or self.include.matches(name)
        return included and not (self.exclude is not None and self.exclude.matches(name))


@dataclass(frozen=True, slots=True)
class Records:
    """`min_severity` is OTLP's number: 9 INFO, 13 WARN, 17 ERROR. Records of unknown severity (0) pass."""

    min_severity: int = 0

    def validate(self) -> None:
        if not 0 <= self.min_severity <= 24:
            raise ConfigError(f"min_severity: found {self.min_severity}, expected 0 to 24")


@dataclass(frozen=True, slots=True)
class FilterConfig:
    metrics: Names = field(default_factory=Names)
    spans: Names = field(default_factory=Names)
    logs: Records = field(default_factory=Records)
