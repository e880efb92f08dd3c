"""Where the backend is. Keys and defaults as in the Collector's otlp, which is the one that speaks gRPC."""

from __future__ import annotations

import re
from dataclasses import dataclass

from collector_ext.otlp.backend import BackendConfig
from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError

_ADDRESS = re.compile(r"(https?://)?([A-Za-z0-9._-]{1,255}|\[[0-9a-fA-F:.]{2,64}\]):[0-9]{1,5}/?|unix:///[!-~]{1,106}")


@dataclass(frozen=True, slots=True)
class OtlpConfig(BackendConfig):
    """`endpoint` is host:port; TLS is spoken unless `tls::insecure` says otherwise, and with https:// always."""

    timeout: Duration = Duration(5.0)

    @property
    def target(self) -> str:
        return re.sub("^https?://", "", self.endpoint).rstrip("/")

    @property
    def encrypted(self) -> bool:
        return self.endpoint.startswith("https://") or not self.tls.insecure

    def validate(self) -> None:
        if not _ADDRESS.fullmatch(self.endpoint):
            raise ConfigError(f"endpoint: found {self.endpoint[:80]!r}, expected host:port such as localhost:4317")
        if self.endpoint.startswith("http://") and not self.tls.insecure:
            raise ConfigError(f"endpoint: found {self.endpoint!r} with TLS, expected https:// or tls::insecure: true")
        BackendConfig.validate(self)
        for name in map(str.lower, self.headers):
            if name.startswith("grpc-") or name.endswith("-bin"):
                raise ConfigError(f"headers: found {name!r}, which gRPC keeps for itself")
