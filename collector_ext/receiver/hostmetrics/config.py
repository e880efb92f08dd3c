"""Keys as in the Collector; a scraper runs when it is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from collector_ext.settings.durations import Duration
from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Scraper:
    """It has no keys."""


@dataclass(frozen=True, slots=True)
class Scrapers:
    memory: Scraper | None = None
    paging: Scraper | None = None
    cpu: Scraper | None = None
    disk: Scraper | None = None
    network: Scraper | None = None


@dataclass(frozen=True, slots=True)
class HostMetricsConfig:
    """`root_path` is where the host's / is mounted, "" for /. `temporality` of what counts up: since the boot, or
    since the reading before, which takes fewer bytes on a slow link.
    """

    collection_interval: Duration = Duration(60.0)
    initial_delay: Duration = Duration(1.0)
    root_path: str = ""
    temporality: Literal["cumulative", "delta"] = "cumulative"
    scrapers: Scrapers = field(default_factory=Scrapers)

    def validate(self) -> None:
        if self.collection_interval <= 0:
            raise ConfigError(f"collection_interval: found {self.collection_interval:g}s, expected more than 0s")
        if self.initial_delay < 0:
            raise ConfigError(f"initial_delay: found {self.initial_delay:g}s, expected 0s or more")
        if self.scrapers == Scrapers():
            raise ConfigError("must specify at least one scraper when using hostmetrics receiver")
