"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ExporterFactory, Stability
from collector_ext.exporter.mqtt.config import MqttExporterConfig
from collector_ext.exporter.mqtt.exporter import MqttExporter

FACTORY = ExporterFactory("mqtt", Stability.BETA, MqttExporterConfig, MqttExporter)
