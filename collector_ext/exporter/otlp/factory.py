"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExporterFactory, Stability
from collector_ext.exporter.otlp.config import OtlpExporterConfig
from collector_ext.exporter.otlp.exporter import OtlpExporter

FACTORY = ExporterFactory("otlp", Stability.BETA, OtlpExporterConfig, OtlpExporter)
