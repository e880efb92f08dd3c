"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ReceiverFactory, Stability
from collector_ext.receiver.otlp.config import OtlpReceiverConfig
from collector_ext.receiver.otlp.receiver import OtlpReceiver

FACTORY = ReceiverFactory("otlp", Stability.BETA, OtlpReceiverConfig, OtlpReceiver)
