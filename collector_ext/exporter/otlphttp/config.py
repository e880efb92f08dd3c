"""Where the backend is. Keys and defaults as in the Collector's otlphttp."""

from __future__ import annotations

import re
from dataclasses import dataclass

from collector_ext.otlp.backend import BackendConfig
from edgesync.wire.errors import ConfigError

_BASE = re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,255}(?:/[!-~]*)?")


@dataclass(frozen=True, slots=True)
class OtlpHttpConfig(BackendConfig):
    """`endpoint` is the base URL, behind which `/v1/metrics` and its sisters are put."""

    def validate(self) -> None:
        if not _BASE.fullmatch(self.endpoint):
            raise ConfigError(f"endpoint: found {self.endpoint[:80]!r}, expected a URL such as http://localhost:4318")
        BackendConfig.validate(self)
