"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExtensionFactory, Stability
from collector_ext.extension.health_check.config import HealthCheckConfig
from collector_ext.extension.health_check.extension import HealthCheck

FACTORY = ExtensionFactory("health_check", Stability.BETA, HealthCheckConfig, HealthCheck)
