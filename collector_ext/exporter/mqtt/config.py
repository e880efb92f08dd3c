"""Where telemetry waits while there is no connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesync.wire.errors import ConfigError

KIB = 1024


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """`directory` holds what waits long, at most `size_kib` of it, the oldest being dropped; "" for memory only, and
    64 KiB of it.
    """

    directory: str = ""
    size_kib: int = 4096

    def validate(self) -> None:
        if not 64 <= self.size_kib <= 1_048_576:
            raise ConfigError(f"size_kib: found {self.size_kib}, expected 64 to 1,048,576")


@dataclass(frozen=True, slots=True)
class MqttExporterConfig:
    sending_queue: QueueConfig = field(default_factory=QueueConfig)
