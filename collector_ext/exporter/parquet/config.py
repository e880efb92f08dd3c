"""What the lake may cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """What stays: `max_age` since it arrived, `max_size_mib` of all tables together, the oldest hours going first. 0 is
    no limit.
    """

    max_age: Duration = Duration(0.0)
    max_size_mib: int = 0

    def validate(self) -> None:
        if self.max_age < 0 or self.max_size_mib < 0:
            raise ConfigError("max_age, max_size_mib: expected 0 (no limit) or more")


@dataclass(frozen=True, slots=True)
class ParquetConfig:
    """`directory` is the lake's. Rows wait for `flush_interval`, or until there are `max_rows` of a table, before they
    become a file; they are synced in a log meanwhile. `compaction`: each hour that is over becomes one sorted file.
    """

    directory: str = ""
    flush_interval: Duration = Duration(60.0)
    max_rows: int = 200_000
    compaction: bool = True
    retention: RetentionConfig = field(default_factory=RetentionConfig)

    def validate(self) -> None:
        if not self.directory:
            raise ConfigError("directory: found nothing, expected the lake's directory")
        if not 1 <= self.flush_interval <= 3600:
            raise ConfigError(f"flush_interval: found {self.flush_interval:g}s, expected 1s to 1h")
        if not 1 <= self.max_rows <= 5_000_000:
            raise ConfigError(f"max_rows: found {self.max_rows}, expected 1 to 5,000,000")
