"""How data reach a backend, and how long they wait for it: the keys that `otlp` and `otlphttp` share. Names and
defaults as in the Collector's exporterhelper; `sending_queue::size_mib` is ours, a bound in bytes instead of batches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from collector_ext.settings.bind import Secret
from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files. Without `ca_file` the system's authorities count; an own certificate is optional. `insecure`: no TLS;
    where the endpoint is a URL, it is the URL that says so.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False

    def validate(self) -> None:
        if bool(self.cert_file) != bool(self.key_file):
            raise ConfigError("cert_file, key_file: found only one of them, expected both or none")


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """With a queue, whoever gives data does not wait for the backend; what waits is lost with the process. Without one
    they are told when the backend has taken the data.
    """

    enabled: bool = True
    size_mib: int = 16

    def validate(self) -> None:
        if not 1 <= self.size_mib <= 4096:
            raise ConfigError(f"size_mib: found {self.size_mib}, expected 1 to 4096")


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Between two tries `initial_interval`, doubled each time up to `max_interval`, or what the backend asks for. After
    `max_elapsed_time` the data are given up, with 0 never; where it is not enabled, after the first try.
    """

    enabled: bool = True
    initial_interval: Duration = Duration(5.0)
    max_interval: Duration = Duration(30.0)
    max_elapsed_time: Duration = Duration(300.0)

    def validate(self) -> None:
        if not 0 < self.initial_interval <= self.max_interval:
            raise ConfigError("initial_interval: expected more than 0s and at most max_interval")
        if self.max_elapsed_time < 0:
            raise ConfigError("max_elapsed_time: expected 0s (never) or more")


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """`timeout` is for one try, from the connection to the whole answer."""

    endpoint: str = ""
    headers: Mapping[str, Secret] = field(default_factory=dict)
    compression: Literal["gzip", "none"] = "gzip"
    timeout: Duration = Duration(30.0)
    tls: TlsConfig = field(default_factory=TlsConfig)
    sending_queue: QueueConfig = field(default_factory=QueueConfig)
    retry_on_failure: RetryConfig = field(default_factory=RetryConfig)

    def validate(self) -> None:
        if not 0.1 <= self.timeout <= 300:
            raise ConfigError(f"timeout: found {self.timeout:g}s, expected 100ms to 5m")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
                raise ConfigError(f"headers: found {name[:80]!r}, expected a name of [A-Za-z0-9_-] and printable ASCII")
