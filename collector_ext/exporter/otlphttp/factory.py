"""What the entry points name: newer Collectors write `otlp_http`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from collector_ext.component import ExporterFactory, Settings, Stability
from collector_ext.exporter.otlphttp.client import connect
from collector_ext.exporter.otlphttp.config import OtlpHttpConfig
from collector_ext.otlp.sending import OtlpExporter


def create(settings: Settings, config: OtlpHttpConfig) -> OtlpExporter:
    return OtlpExporter(settings, config, partial(connect, config))


FACTORY = ExporterFactory("otlphttp", Stability.BETA, OtlpHttpConfig, create)
NEWER = replace(FACTORY, type="otlp_http")
