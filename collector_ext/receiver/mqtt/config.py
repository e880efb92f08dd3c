"""Where the broker is, and who the collector is there."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import COLLECTOR, DeviceId, device_id, is_label


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files. Without them the connection is not encrypted, and the broker cannot tell who is who."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def validate(self) -> None:
        given = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name)]
        if len(given) not in (0, 3):
            raise ConfigError(f"found only {', '.join(given)}, expected ca_file, cert_file and key_file, or none")


@dataclass(frozen=True, slots=True)
class MqttReceiverConfig:
    """`endpoint` is the broker's host:port, `fleet` whose boards are heard. The certificate's CN is
    `<fleet>.collector`. `max_in_flight` messages are worked on at once; those behind them wait at the broker.
    """

    endpoint: str = "localhost:8883"
    fleet: str = ""
    tls: TlsConfig = field(default_factory=TlsConfig)
    max_in_flight: int = 64

    def validate(self) -> None:
        host, _, port = self.endpoint.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ConfigError(f"endpoint: found {self.endpoint!r}, expected host:port")
        if not is_label(self.fleet):
            raise ConfigError(f"fleet: found {self.fleet!r}, expected the fleet's name, [a-z0-9-]")
        if not 1 <= self.max_in_flight <= 1000:
            raise ConfigError(f"max_in_flight: found {self.max_in_flight}, expected 1 to 1000")

    @property
    def client(self) -> DeviceId:
        return device_id(self.fleet, COLLECTOR)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.rpartition(":")
        return host, int(port)
