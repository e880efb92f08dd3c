"""Where it listens. Keys as in the Collector's otlp receiver."""

from __future__ import annotations

from dataclasses import dataclass, field

from collector_ext.otlp.decode import LIMIT
from edgesync.host.http import parse_endpoint
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`endpoint` is host:port or unix:///path. `max_request_body_size`: bytes, as sent and again after gzip."""

    endpoint: str = "localhost:4318"
    max_request_body_size: int = 4 << 20

    def validate(self) -> None:
        parse_endpoint(self.endpoint)
        if not 1024 <= self.max_request_body_size <= LIMIT:
            raise ConfigError(
                f"max_request_body_size: found {self.max_request_body_size}, expected 1024 to {LIMIT} (bytes)"
            )


@dataclass(frozen=True, slots=True)
class ProtocolsConfig:
    http: HttpConfig = field(default_factory=HttpConfig)


@dataclass(frozen=True, slots=True)
class OtlpReceiverConfig:
    protocols: ProtocolsConfig = field(default_factory=ProtocolsConfig)
