"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExporterFactory, Stability
from collector_ext.exporter.debug.exporter import Debug, DebugConfig

FACTORY = ExporterFactory("debug", Stability.BETA, DebugConfig, Debug)
