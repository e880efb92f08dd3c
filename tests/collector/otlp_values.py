"""Any telemetry, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from collector_ext import pdata as p

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
U64, U32, I64, I32 = (
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
)
FLOATS = st.floats(allow_nan=False)
PLAIN = st.none() | st.booleans() | I64 | FLOATS | TEXT | st.binary(max_size=6)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=3)
SOME = {"max_size": 2}
NUMBERS = st.none() | I64 | FLOATS
TRACE_IDS, SPAN_IDS = st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8)


def few(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(strategy, max_size=2).map(tuple)


OPTIONAL = st.none() | FLOATS
TEMPORALITY = st.sampled_from(p.Temporality)
EXEMPLARS = few(st.builds(p.Exemplar, U64, NUMBERS, ATTRIBUTES, TRACE_IDS | st.just(b""), SPAN_IDS | st.just(b"")))
NUMBER_POINTS = few(st.builds(p.NumberPoint, U64, NUMBERS, ATTRIBUTES, U64, EXEMPLARS, U32))
HISTOGRAM_POINTS = few(
    st.builds(
        p.HistogramPoint, U64, U64, OPTIONAL, few(FLOATS), few(U64), OPTIONAL, OPTIONAL, ATTRIBUTES, U64, EXEMPLARS, U32
    )
)
BUCKETS = st.none() | st.builds(p.Buckets, I32, few(U64))
EXPONENTIAL_POINTS = few(
    st.builds(
        p.ExponentialPoint,
        U64,
        U64,
        I32,
        U64,
        BUCKETS,
        BUCKETS,
        OPTIONAL,
        OPTIONAL,
        OPTIONAL,
        FLOATS,
        ATTRIBUTES,
        U64,
        EXEMPLARS,
        U32,
    )
)
SUMMARY_POINTS = few(st.builds(p.SummaryPoint, U64, U64, FLOATS, few(st.tuples(FLOATS, FLOATS)), ATTRIBUTES, U64, U32))
METRIC_DATA = st.one_of(
    st.none(),
    st.builds(p.Gauge, NUMBER_POINTS),
    st.builds(p.Sum, NUMBER_POINTS, TEMPORALITY, st.booleans()),
    st.builds(p.Histogram, HISTOGRAM_POINTS, TEMPORALITY),
    st.builds(p.ExponentialHistogram, EXPONENTIAL_POINTS, TEMPORALITY),
    st.builds(p.Summary, SUMMARY_POINTS),
)
RESOURCES = st.builds(p.Resource, ATTRIBUTES, U32)
SCOPES = st.builds(p.Scope, TEXT, TEXT, ATTRIBUTES, U32)
METRICS = few(
    st.builds(
        p.ResourceMetrics,
        few(
            st.builds(p.ScopeMetrics, few(st.builds(p.Metric, TEXT, METRIC_DATA, TEXT, TEXT, ATTRIBUTES)), SCOPES, TEXT)
        ),
        RESOURCES,
        TEXT,
    )
).map(p.Metrics)
EVENTS = few(st.builds(p.SpanEvent, U64, TEXT, ATTRIBUTES, U32))
LINKS = few(st.builds(p.SpanLink, TRACE_IDS, SPAN_IDS, ATTRIBUTES, TEXT, U32, U32))
SPANS = few(
    st.builds(
        p.Span,
        TRACE_IDS,
        SPAN_IDS,
        TEXT,
        U64,
        U64,
        SPAN_IDS | st.just(b""),
        st.sampled_from(p.SpanKind),
        ATTRIBUTES,
        EVENTS,
        LINKS,
        st.sampled_from(p.SpanCode),
        TEXT,
        TEXT,
        U32,
        U32,
        U32,
        U32,
    )
)
TRACES = few(st.builds(p.ResourceSpans, few(st.builds(p.ScopeSpans, SPANS, SCOPES, TEXT)), RESOURCES, TEXT)).map(
    p.Traces
)
RECORDS = few(
    st.builds(
        p.LogRecord,
        U64,
        VALUES,
        U64,
        st.integers(0, 24),
        TEXT,
        ATTRIBUTES,
        TRACE_IDS | st.just(b""),
        SPAN_IDS | st.just(b""),
        TEXT,
        U32,
        U32,
    )
)
LOGS = few(st.builds(p.ResourceLogs, few(st.builds(p.ScopeLogs, RECORDS, SCOPES, TEXT)), RESOURCES, TEXT)).map(p.Logs)
DATA = METRICS | TRACES | LOGS
