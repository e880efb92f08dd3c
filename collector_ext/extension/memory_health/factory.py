"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExtensionFactory, Stability
from collector_ext.extension.memory_health.config import MemoryHealthConfig
from collector_ext.extension.memory_health.extension import MemoryHealth

FACTORY = ExtensionFactory("memory_health", Stability.ALPHA, MemoryHealthConfig, MemoryHealth)
