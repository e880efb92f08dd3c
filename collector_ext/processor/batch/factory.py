"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ProcessorFactory, Stability
from collector_ext.processor.batch.config import BatchConfig
from collector_ext.processor.batch.processor import Batch

FACTORY = ProcessorFactory("batch", Stability.BETA, BatchConfig, Batch)
