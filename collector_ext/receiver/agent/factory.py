"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ReceiverFactory, Stability
from collector_ext.ids import Signal
from collector_ext.receiver.agent.config import AgentReceiverConfig
from collector_ext.receiver.agent.receiver import AgentReceiver

FACTORY = ReceiverFactory(
    "agent", Stability.BETA, AgentReceiverConfig, AgentReceiver, frozenset({Signal.METRICS, Signal.TRACES})
)
