"""Keys as in the Collector's memory_limiter where they mean the same."""

from __future__ import annotations

from dataclasses import dataclass

from collector_ext.settings.durations import Duration
from edgesync.host.http import parse_endpoint
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class MemoryHealthConfig:
    """The hard threshold is `limit_percentage` of what there is, the soft one lies `spike_limit_percentage` below it.

    `clear_percentage` below a threshold for `clear_checks` looks in a row, the memory is no longer short.
    `pressure_percentage`: of ten seconds in which every task waited for memory, 0 to leave pressure alone. `stall`: of
    two seconds that some task waits until the kernel wakes us. `cgroup`: a directory, "" for the own group.
    `endpoint` of GET /v1/health: host:port, unix:///path, "" for none; there a shortage is an error (500) after
    `recovery_duration`. `tegrastats`: a program of NVIDIA's boards, "" for where it usually is, "off" for never.
    """

    check_interval: Duration = Duration(30.0)
    limit_percentage: int = 90
    spike_limit_percentage: int = 10
    clear_percentage: int = 5
    clear_checks: int = 2
    pressure_percentage: float = 5.0
    stall: Duration = Duration(0.15)
    cgroup: str = ""
    endpoint: str = "localhost:13134"
    recovery_duration: Duration = Duration(300.0)
    tegrastats: str = ""

    def validate(self) -> None:
        if self.check_interval <= 0:
            raise ConfigError(f"check_interval: found {self.check_interval:g}s, expected more than 0s")
        if not 0 < self.limit_percentage <= 100:
            raise ConfigError(f"limit_percentage: found {self.limit_percentage}, expected 1 to 100 (percent)")
        if not 0 <= self.spike_limit_percentage < self.limit_percentage:
            expected = f"0 to {self.limit_percentage - 1}, less than limit_percentage"
            raise ConfigError(f"spike_limit_percentage: found {self.spike_limit_percentage}, expected {expected}")
        if not 0 <= self.clear_percentage < self.soft:
            raise ConfigError(f"clear_percentage: found {self.clear_percentage}, expected 0 to {self.soft - 1}")
        if not 1 <= self.clear_checks <= 100:
            raise ConfigError(f"clear_checks: found {self.clear_checks}, expected 1 to 100")
        if not 0 <= self.pressure_percentage <= 100:
            raise ConfigError(f"pressure_percentage: found {self.pressure_percentage:g}, expected 0 to 100 (percent)")
        if not 0.001 <= self.stall <= 2:
            raise ConfigError(f"stall: found {self.stall:g}s, expected 1ms to 2s")
        if self.recovery_duration < 0:
            raise ConfigError(f"recovery_duration: found {self.recovery_duration:g}s, expected 0s or more")
        if self.endpoint:
            parse_endpoint(self.endpoint)

    @property
    def soft(self) -> int:
        """Percent."""
        return self.limit_percentage - self.spike_limit_percentage
