"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ReceiverFactory, Stability
from collector_ext.receiver.mqtt.config import MqttReceiverConfig
from collector_ext.receiver.mqtt.receiver import MqttReceiver

FACTORY = ReceiverFactory("mqtt", Stability.BETA, MqttReceiverConfig, MqttReceiver)
