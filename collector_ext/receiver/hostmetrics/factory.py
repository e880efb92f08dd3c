"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ReceiverFactory, Stability
from collector_ext.ids import Signal
from collector_ext.receiver.hostmetrics.config import HostMetricsConfig
from collector_ext.receiver.hostmetrics.receiver import HostMetrics

FACTORY = ReceiverFactory("hostmetrics", Stability.ALPHA, HostMetricsConfig, HostMetrics, frozenset({Signal.METRICS}))
