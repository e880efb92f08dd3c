"""Keys and defaults of the Collector's prometheus exporter, and `limits`, which are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from collector_ext.settings.durations import Duration
from edgesync.host.http import parse_endpoint
from edgesync.wire.errors import ConfigError

IDENTITY = ("job", "instance", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url")
"""Labels that say whose a series is."""
POSITIONS = ("le", "quantile")
"""Labels that say which of a histogram's or a summary's series it is."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")
_NAMESPACE = re.compile(r"(?:[a-zA-Z_:][a-zA-Z0-9_:]{0,99})?")


@dataclass(frozen=True, slots=True)
class ConversionConfig:
    """`enabled`: every resource attribute is a label of every series, not only of `target_info`."""

    enabled: bool = False


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What a label explosion can cost. `series` as Prometheus counts them (a histogram is one for each bucket, and
    two); `target_series` are those of one target (job and instance), `metric_series` those that one metric has there;
    `label_bytes` is the name and all labels of one series; `size_mib` is the text of a scrape.
    """

    series: int = 100_000
    target_series: int = 5_000
    metric_series: int = 2_000
    label_bytes: int = 4096
    size_mib: int = 64

    def validate(self) -> None:
        for name in ("series", "target_series", "metric_series"):
            if not 1 <= getattr(self, name) <= 10_000_000:
                raise ConfigError(f"{name}: found {getattr(self, name)}, expected 1 to 10,000,000")
        if not 1 <= self.size_mib <= 4096:
            raise ConfigError(f"size_mib: found {self.size_mib}, expected 1 to 4096")
        if not 256 <= self.label_bytes <= 65536:
            raise ConfigError(f"label_bytes: found {self.label_bytes}, expected 256 to 65,536")


@dataclass(frozen=True, slots=True)
class PrometheusConfig:
    """`endpoint` is where /metrics is; a series that nothing renews for `metric_expiration` is gone from it."""

    endpoint: str = ""
    namespace: str = ""
    const_labels: Mapping[str, str] = field(default_factory=dict)
    send_timestamps: bool = False
    metric_expiration: Duration = Duration(300.0)
    resource_to_telemetry_conversion: ConversionConfig = field(default_factory=ConversionConfig)
    without_scope_info: bool = False
    add_metric_suffixes: bool = True
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def validate(self) -> None:
        parse_endpoint(self.endpoint)
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ConfigError(f"namespace: found {self.namespace[:80]!r}, expected a name of [a-zA-Z0-9_:]")
        for name in self.const_labels:
            if not _LABEL.fullmatch(name) or name.startswith("__") or name in (*IDENTITY, *POSITIONS):
                reserved = ", ".join((*IDENTITY, *POSITIONS))
                raise ConfigError(
                    f"const_labels: found {name[:80]!r}, expected a name of [a-zA-Z0-9_] that is none of {reserved}"
                )
        if not 1 <= self.metric_expiration <= 7 * 86400:
            raise ConfigError(f"metric_expiration: found {self.metric_expiration:g}s, expected 1s to 168h")
