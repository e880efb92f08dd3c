"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ProcessorFactory, Stability
from collector_ext.processor.memory_limiter.config import MemoryLimiterConfig
from collector_ext.processor.memory_limiter.processor import MemoryLimiter

FACTORY = ProcessorFactory("memory_limiter", Stability.BETA, MemoryLimiterConfig, MemoryLimiter)
