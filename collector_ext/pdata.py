"""What flows through pipelines: OTLP's model as frozen values, so that fanning out needs no copies.

Times are nanoseconds since 1970, 0 for unknown. Nothing here is ever changed after it was made: a processor makes new
values (`dataclasses.replace`), also of attributes. A batch is one `Metrics`, `Traces` or `Logs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

Value = None | bool | int | float | str | bytes | tuple["Value", ...] | Mapping[str, "Value"]
Attributes = Mapping[str, Value]

DEVICE = "edgesync.device"
"""The resource attribute that says which board it was, set where the broker has checked it against the certificate."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What all of a batch's data are about: a board, a service."""

    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """The library or component that produced the data."""

    name: str = ""
    version: str = ""
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0


# --- metrics ------------------------------------------------------------------------------------------------------


class Temporality(IntEnum):
    UNSPECIFIED = 0
    DELTA = 1
    CUMULATIVE = 2


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A measurement that stands for others. The ids are 16 and 8 bytes, or empty."""

    time: int
    value: int | float | None
    attributes: Attributes = field(default_factory=dict)
    trace_id: bytes = b""
    span_id: bytes = b""


@dataclass(frozen=True, slots=True)
class NumberPoint:
    """`value` None with flag 1 says that there was nothing to read."""

    time: int
    value: int | float | None
    attributes: Attributes = field(default_factory=dict)
    start: int = 0
    exemplars: tuple[Exemplar, ...] = ()
    flags: int = 0


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """`counts` has one entry more than `bounds`, or both are empty; each bucket ends with its bound, inclusive."""

    time: int
    count: int
    sum: float | None = None
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    min: float | None = None
    max: float | None = None
    attributes: Attributes = field(default_factory=dict)
    start: int = 0
    exemplars: tuple[Exemplar, ...] = ()
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Buckets:
    """Bucket i of an exponential histogram covers (base ** (offset + i), base ** (offset + i + 1)]."""

    offset: int = 0
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExponentialPoint:
    """base = 2 ** (2 ** -scale)."""

    time: int
    count: int
    scale: int
    zero_count: int = 0
    positive: Buckets | None = None
    negative: Buckets | None = None
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    zero_threshold: float = 0.0
    attributes: Attributes = field(default_factory=dict)
    start: int = 0
    exemplars: tuple[Exemplar, ...] = ()
    flags: int = 0


@dataclass(frozen=True, slots=True)
class SummaryPoint:
    """`quantiles` are pairs (quantile from 0 to 1, value)."""

    time: int
    count: int
    sum: float
    quantiles: tuple[tuple[float, float], ...] = ()
    attributes: Attributes = field(default_factory=dict)
    start: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Gauge:
    points: tuple[NumberPoint, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    points: tuple[NumberPoint, ...]
    temporality: Temporality
    monotonic: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    points: tuple[HistogramPoint, ...]
    temporality: Temporality


@dataclass(frozen=True, slots=True)
class ExponentialHistogram:
    points: tuple[ExponentialPoint, ...]
    temporality: Temporality


@dataclass(frozen=True, slots=True)
class Summary:
    points: tuple[SummaryPoint, ...]


MetricData = Gauge | Sum | Histogram | ExponentialHistogram | Summary


@dataclass(frozen=True, slots=True)
class Metric:
    """`unit` is UCUM: `By`, `s`, `1`, `{fault}`. `data` None is a metric without points, which OTLP allows."""

    name: str
    data: MetricData | None
    unit: str = ""
    description: str = ""
    metadata: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScopeMetrics:
    metrics: tuple[Metric, ...]
    scope: Scope = field(default_factory=Scope)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class ResourceMetrics:
    scopes: tuple[ScopeMetrics, ...]
    resource: Resource = field(default_factory=Resource)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Metrics:
    resources: tuple[ResourceMetrics, ...]

    def __len__(self) -> int:
        """Points."""
        return sum(
            len(metric.data.points)
            for resource in self.resources
            for scope in resource.scopes
            for metric in scope.metrics
            if metric.data
        )


# --- traces -------------------------------------------------------------------------------------------------------


class SpanKind(IntEnum):
    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class SpanCode(IntEnum):
    UNSET = 0
    OK = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class SpanEvent:
    time: int
    name: str
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class SpanLink:
    trace_id: bytes
    span_id: bytes
    attributes: Attributes = field(default_factory=dict)
    trace_state: str = ""
    dropped_attributes: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """`trace_id` is 16 bytes, `span_id` 8, `parent_span_id` 8 or empty for a root."""

    trace_id: bytes
    span_id: bytes
    name: str
    start: int
    end: int
    parent_span_id: bytes = b""
    kind: SpanKind = SpanKind.UNSPECIFIED
    attributes: Attributes = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    code: SpanCode = SpanCode.UNSET
    message: str = ""
    trace_state: str = ""
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class ScopeSpans:
    spans: tuple[Span, ...]
    scope: Scope = field(default_factory=Scope)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class ResourceSpans:
    scopes: tuple[ScopeSpans, ...]
    resource: Resource = field(default_factory=Resource)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Traces:
    resources: tuple[ResourceSpans, ...]

    def __len__(self) -> int:
        """Spans."""
        return sum(len(scope.spans) for resource in self.resources for scope in resource.scopes)


# --- logs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogRecord:
    """`severity` is OTLP's number, 1 to 24 (9 INFO, 13 WARN, 17 ERROR), 0 for unknown."""

    time: int
    body: Value
    observed_time: int = 0
    severity: int = 0
    severity_text: str = ""
    attributes: Attributes = field(default_factory=dict)
    trace_id: bytes = b""
    span_id: bytes = b""
    event_name: str = ""
    dropped_attributes: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class ScopeLogs:
    records: tuple[LogRecord, ...]
    scope: Scope = field(default_factory=Scope)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class ResourceLogs:
    scopes: tuple[ScopeLogs, ...]
    resource: Resource = field(default_factory=Resource)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Logs:
    resources: tuple[ResourceLogs, ...]

    def __len__(self) -> int:
        """Records."""
        return sum(len(scope.records) for resource in self.resources for scope in resource.scopes)


Data = Metrics | Traces | Logs
