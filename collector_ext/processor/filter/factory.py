"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ProcessorFactory, Stability
from collector_ext.processor.filter.config import FilterConfig
from collector_ext.processor.filter.processor import Filter

FACTORY = ProcessorFactory("filter", Stability.ALPHA, FilterConfig, Filter)
