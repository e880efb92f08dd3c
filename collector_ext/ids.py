"""Names of components, signals and pipelines, as the Collector writes them: `type`, `type/name`, `signal/name`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from edgesync.wire.errors import ConfigError

NAME_LIMIT = 1024
_TYPE = re.compile(r"[a-zA-Z][0-9a-zA-Z_]{0,62}")


class Kind(Enum):
    """What a component is. Connectors are not there yet: every pipeline ends in its exporters."""

    RECEIVER = "receiver"
    PROCESSOR = "processor"
    EXPORTER = "exporter"
    EXTENSION = "extension"


class Signal(Enum):
    METRICS = "metrics"
    TRACES = "traces"
    LOGS = "logs"


@dataclass(frozen=True, slots=True, order=True)
class ComponentId:
    """`type[/name]`: which component, and which of several of that type."""

    type: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.type}/{self.name}" if self.name else self.type


@dataclass(frozen=True, slots=True)
class PipelineId:
    """`signal[/name]`."""

    signal: Signal
    name: str = ""

    def __str__(self) -> str:
        return f"{self.signal.value}/{self.name}" if self.name else self.signal.value


@dataclass(frozen=True, slots=True)
class InstanceId:
    """One running component: a receiver, an exporter or an extension is one instance, whatever its number of pipelines;
    a processor is one for each pipeline.
    """

    kind: Kind
    id: ComponentId
    pipelines: tuple[PipelineId, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.id}"


def parse_component(text: str) -> ComponentId:
    """Raises ConfigError for what is no `type[/name]`."""
    kind, name = _split(text)
    if not _TYPE.fullmatch(kind):
        raise ConfigError(f"in {text[:80]!r} id: invalid type {kind[:80]!r}: must match ^[a-zA-Z][0-9a-zA-Z_]{{0,62}}$")
    return ComponentId(kind, name)


def parse_pipeline(text: str) -> PipelineId:
    """Raises ConfigError for what is no `signal[/name]`."""
    kind, name = _split(text)
    for signal in Signal:
        if signal.value == kind:
            return PipelineId(signal, name)
    raise ConfigError(f"in {text[:80]!r} id: unknown signal {kind[:80]!r}, expected metrics, traces or logs")


def _split(text: str) -> tuple[str, str]:
    kind, slash, name = text.partition("/")
    kind, name = kind.strip(), name.strip()
    if not kind:
        raise ConfigError(f"in {text[:80]!r} id: the part before / should not be empty")
    if slash and not name:
        raise ConfigError(f"in {text[:80]!r} id: the part after / should not be empty")
    # Separators, control characters and symbols; a name stands in log lines, labels and topics.
    if len(name) > NAME_LIMIT or any(unicodedata.category(char)[0] in "ZCS" for char in name):
        raise ConfigError(
            f"in {text[:80]!r} id: invalid name: 1 to {NAME_LIMIT} characters without spaces, controls and symbols"
        )
    return kind, name
