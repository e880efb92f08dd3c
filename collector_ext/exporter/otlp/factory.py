"""What the entry points name: newer Collectors write `otlp_grpc`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from collector_ext.component import ExporterFactory, Settings, Stability
from collector_ext.exporter.otlp.client import GrpcTransport
from collector_ext.exporter.otlp.config import OtlpConfig
from collector_ext.otlp.sending import OtlpExporter


def create(settings: Settings, config: OtlpConfig) -> OtlpExporter:
    return OtlpExporter(settings, config, partial(GrpcTransport, config))


FACTORY = ExporterFactory("otlp", Stability.BETA, OtlpConfig, create)
NEWER = replace(FACTORY, type="otlp_grpc")
