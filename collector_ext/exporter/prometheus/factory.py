"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExporterFactory, Stability
from collector_ext.exporter.prometheus.config import PrometheusConfig
from collector_ext.exporter.prometheus.exporter import PrometheusExporter
from collector_ext.ids import Signal

FACTORY = ExporterFactory(
    "prometheus", Stability.BETA, PrometheusConfig, PrometheusExporter, frozenset({Signal.METRICS})
)
