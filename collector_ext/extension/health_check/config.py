"""Keys and defaults as in the Collector's health_check and healthcheckv2."""

from __future__ import annotations

from dataclasses import dataclass, field

from collector_ext.health import ErrorPolicy
from collector_ext.settings.durations import Duration
from edgesync.host.http import parse_endpoint
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """Which errors of components turn the answer into 500."""

    include_permanent_errors: bool = False
    include_recoverable_errors: bool = False
    recovery_duration: Duration = Duration(300.0)

    def validate(self) -> None:
        if self.recovery_duration < 0:
            raise ConfigError(f"recovery_duration: found {self.recovery_duration:g}s, expected 0s or more")

    def policy(self) -> ErrorPolicy:
        return ErrorPolicy(self.include_permanent_errors, self.include_recoverable_errors, self.recovery_duration)


@dataclass(frozen=True, slots=True)
class HealthCheckConfig:
    """`endpoint` is host:port or unix:///path; `path` what is answered there."""

    endpoint: str = "localhost:13133"
    path: str = "/"
    component_health: ComponentHealth = field(default_factory=ComponentHealth)

    def validate(self) -> None:
        parse_endpoint(self.endpoint)
        if not self.path.startswith("/"):
            raise ConfigError(f"path: found {self.path!r}, expected a path that begins with /")
