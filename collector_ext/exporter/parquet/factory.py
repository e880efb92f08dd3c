"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExporterFactory, Stability
from collector_ext.exporter.parquet.config import ParquetConfig
from collector_ext.exporter.parquet.exporter import ParquetExporter

FACTORY = ExporterFactory("parquet", Stability.BETA, ParquetConfig, ParquetExporter)
