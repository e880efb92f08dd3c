"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ProcessorFactory, Stability
from collector_ext.processor.resource.config import ResourceConfig
from collector_ext.processor.resource.processor import ResourceProcessor

FACTORY = ProcessorFactory("resource", Stability.BETA, ResourceConfig, ResourceProcessor)
