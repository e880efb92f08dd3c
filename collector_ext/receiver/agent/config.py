"""How often the agent's numbers are read."""

from __future__ import annotations

from dataclasses import dataclass

from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class AgentReceiverConfig:
    collection_interval: Duration = Duration(60.0)

    def validate(self) -> None:
        if not 1 <= self.collection_interval <= 86400:
            raise ConfigError(f"collection_interval: found {self.collection_interval:g}s, expected 1s to 24h")
