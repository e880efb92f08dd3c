"""Keys and defaults as in the Collector."""

from __future__ import annotations

from dataclasses import dataclass

from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """A batch leaves after `timeout`, or at `send_batch_size` items (points, spans, records) or more."""

    timeout: Duration = Duration(0.2)
    send_batch_size: int = 8192

    def validate(self) -> None:
        if self.timeout < 0:
            raise ConfigError(f"timeout: found {self.timeout:g}s, expected 0s or more")
        if self.send_batch_size < 1:
            raise ConfigError(f"send_batch_size: found {self.send_batch_size}, expected 1 or more")
