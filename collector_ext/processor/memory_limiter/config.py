"""Keys, defaults and messages as in the Collector."""

from __future__ import annotations

from dataclasses import dataclass

from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError

SPIKE_PERCENT = 20
"""Of the hard limit, where no spike limit is set."""


@dataclass(frozen=True, slots=True)
class MemoryLimiterConfig:
    """`limit_mib` wins over `limit_percentage`, which is of what the machine or the cgroup has."""

    check_interval: Duration = Duration(0.0)
    limit_mib: int = 0
    spike_limit_mib: int = 0
    limit_percentage: int = 0
    spike_limit_percentage: int = 0

    def validate(self) -> None:
        if self.check_interval <= 0:
            raise ConfigError("'check_interval' must be greater than zero")
        if self.limit_mib <= 0 and self.limit_percentage <= 0:
            raise ConfigError("'limit_mib' or 'limit_percentage' must be greater than zero")
        if self.limit_percentage > 100 or self.spike_limit_percentage > 100:
            raise ConfigError("'limit_percentage' and 'spike_limit_percentage' must be at most 100")
        if min(self.limit_mib, self.spike_limit_mib, self.limit_percentage, self.spike_limit_percentage) < 0:
            raise ConfigError("limits must not be negative")
        if self.limit_mib and self.spike_limit_mib >= self.limit_mib:
            raise ConfigError("'spike_limit_mib' must be smaller than 'limit_mib'")
        if not self.limit_mib and self.spike_limit_percentage >= self.limit_percentage:
            raise ConfigError("'spike_limit_percentage' must be smaller than 'limit_percentage'")

    def limits(self, total: int) -> tuple[int, int]:
        """Soft and hard limit in bytes, of a machine or cgroup that has `total`."""
        if self.limit_mib:
            hard, spike = self.limit_mib << 20, self.spike_limit_mib << 20
        else:
            hard, spike = total * self.limit_percentage // 100, total * self.spike_limit_percentage // 100
        return hard - (spike or hard * SPIKE_PERCENT // 100), hard
