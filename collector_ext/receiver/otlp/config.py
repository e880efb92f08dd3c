"""Where it listens. Keys as in the Collector's otlp receiver: a protocol that is not named is not served."""

from __future__ import annotations

from dataclasses import dataclass, field

from collector_ext.otlp.decode import LIMIT
from collector_ext.settings.sizes import MIB
from edgesync.host.http import parse_endpoint
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """`endpoint` is host:port or unix:///path. `max_recv_msg_size_mib`: of a request, as sent and again after gzip."""

    endpoint: str = "localhost:4317"
    max_recv_msg_size_mib: int = 4

    def validate(self) -> None:
        parse_endpoint(self.endpoint)
        if not 1 <= self.max_recv_msg_size_mib <= LIMIT // MIB:
            raise ConfigError(
                f"max_recv_msg_size_mib: found {self.max_recv_msg_size_mib}, expected 1 to {LIMIT // MIB} (MiB)"
            )


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
    """None: not served. A null body is the default of what it stands for."""

    grpc: GrpcConfig | None = None
    http: HttpConfig | None = None


@dataclass(frozen=True, slots=True)
class OtlpReceiverConfig:
    protocols: ProtocolsConfig = field(default_factory=ProtocolsConfig)

    def validate(self) -> None:
        if self.protocols.grpc is None and self.protocols.http is None:
            raise ConfigError("must specify at least one protocol: protocols::grpc, protocols::http or both")
