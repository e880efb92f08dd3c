"""The prometheus exporter, read by Prometheus' own parser: what OTLP becomes, and that no sender can make it large."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_values import METRICS
from prometheus_client.parser import text_string_to_metric_families
from telemetry_parts import SECOND, START, gauge, metrics

from collector_ext import pdata as p
from collector_ext.exporter.prometheus.config import ConversionConfig, LimitsConfig, PrometheusConfig
from collector_ext.exporter.prometheus.exporter import PrometheusExporter
from collector_ext.exporter.prometheus.factory import FACTORY
from collector_ext.exporter.prometheus.names import label_name, metric_name
from collector_ext.exporter.prometheus.store import Store
from collector_ext.exporter.prometheus.values import Reason
from collector_ext.pdata import Metric, Metrics, NumberPoint, Temporality
from collector_ext.registry import EntryPoints
from collector_ext.selfmetrics import Meter
from collector_ext.settings.durations import Duration
from collector_ext.status import Status
from collector_ext.testing import doubles
from collector_ext.testing.contract import check_factory, check_life, check_registered, refusal
from collector_ext.testing.doubles import Host

HERE = PrometheusConfig(endpoint="127.0.0.1:0")
DELTA, CUMULATIVE = Temporality.DELTA, Temporality.CUMULATIVE


def test_it_keeps_the_contract() -> None:
    check_factory(FACTORY)
    check_registered(FACTORY, EntryPoints())
    asyncio.run(check_life(FACTORY, HERE))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "endpoint: found ''"),
        ({"endpoint": ":9464", "namespace": "a-b"}, "namespace: found 'a-b'"),
        ({"endpoint": ":9464", "const_labels": {"a b": "c"}}, "const_labels: found 'a b'"),
        ({"endpoint": ":9464", "const_labels": {"job": "c"}}, "const_labels: found 'job'"),
        ({"endpoint": ":9464", "const_labels": {"__name__": "c"}}, "const_labels: found '__name__'"),
        ({"endpoint": ":9464", "metric_expiration": Duration(0.0)}, "metric_expiration: found 0s"),
    ],
)
def test_a_config_that_cannot_be_says_which_key(changes: dict[str, Any], says: str) -> None:
    assert refusal(FACTORY, **changes).startswith(says)
    for limit in ({"series": 0}, {"target_series": 0}, {"metric_series": 0}, {"label_bytes": 10}, {"size_mib": 0}):
        with pytest.raises(Exception, match=next(iter(limit))):
            LimitsConfig(**limit).validate()


# --- the page -----------------------------------------------------------------------------------------------------

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(page: bytes) -> Samples:
    """By name and labels. Fails for a page that gives a series twice, or a metric in two places."""
    found: Samples = {}
    heads = re.findall(r"^# TYPE (\S+) ", page.decode(), re.MULTILINE)
    assert len(heads) == len(set(heads))
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def types(page: bytes) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", page.decode(), re.MULTILINE))


def shown(*batches: Metrics, config: PrometheusConfig = HERE) -> bytes:
    """The page after these batches, of which everything is taken."""
    store = Store(config)
    for batch in batches:
        for resource in batch.resources:
            assert not store.put(resource, 0.0)
    return store.page()


def value(page: bytes, name: str, **labels: str) -> float:
    return read(page)[name, tuple(sorted(labels.items()))]


def counted(value: float, at: int, start: int = START, name: str = "c", **attributes: str) -> Metrics:
    """One delta; times in seconds after START."""
    point = NumberPoint(START + at * SECOND, value, attributes, start)
    return metrics([Metric(name, p.Sum((point,), DELTA, monotonic=True))], {})


def test_a_scrape_gets_what_boards_told_by_board_and_what_is_known_of_them() -> None:
    batches = [
        gauge([7, 9], "system.memory.usage", **{p.DEVICE: "demo.b01"}),
        gauge([5], "system.memory.usage", **{p.DEVICE: "demo.b02", "host.arch": "arm64"}),
    ]

    async def whole() -> tuple[bytes, bytes]:
        exporter = PrometheusExporter(doubles.settings("prometheus"), HERE)
        await exporter.start(Host())
        for batch in batches:
            await exporter.consume(batch)
        try:
            return await get(exporter.port, "/metrics"), await get(exporter.port, "/other")
        finally:
            await exporter.shutdown()

    answer, other = asyncio.run(whole())
    top, _, page = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 200")
    assert b"Content-Type: text/plain; version=0.0.4" in top
    assert other.startswith(b"HTTP/1.1 404")
    assert types(page) == {"system_memory_usage_bytes": "gauge", "target_info": "gauge"}
    assert read(page) == {
        ("system_memory_usage_bytes", (("instance", "demo.b01"), ("state", "used"))): 9,
        ("system_memory_usage_bytes", (("instance", "demo.b02"), ("state", "used"))): 5,
        ("target_info", (("edgesync_device", "demo.b01"), ("instance", "demo.b01"))): 1,
        ("target_info", (("edgesync_device", "demo.b02"), ("host_arch", "arm64"), ("instance", "demo.b02"))): 1,
    }


async def get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("attributes", "job", "instance"),
    [
        ({"service.name": "shop", "service.namespace": "eu", "service.instance.id": "7"}, "eu/shop", "7"),
        ({"service.name": "shop"}, "shop", None),
        ({"service.namespace": "eu", "service.instance.id": "7"}, None, "7"),
        ({p.DEVICE: "demo.b01", "service.instance.id": "7"}, None, "demo.b01/7"),
        ({p.DEVICE: "demo.b01", "service.instance.id": "demo.b01"}, None, "demo.b01"),
        ({}, None, None),
    ],
)
def test_job_and_instance_say_whose_a_series_is(
    attributes: Mapping[str, str], job: str | None, instance: str | None
) -> None:
    page = shown(gauge([1], **attributes))
    ((_, labels),) = [key for key in read(page) if key[0] != "target_info"]
    assert (dict(labels).get("job"), dict(labels).get("instance")) == (job, instance)


def test_a_board_cannot_speak_as_another() -> None:
    page = shown(
        gauge([1], **{p.DEVICE: "demo.b01"}), gauge([2], **{p.DEVICE: "demo.b02", "service.instance.id": "demo.b01"})
    )
    assert value(page, "m_bytes", instance="demo.b01", state="used") == 1


NAMES: list[tuple[str, str, str, str]] = [
    ("system.network.io", "By", "counter", "system_network_io_bytes_total"),
    ("system.memory.usage", "By", "gauge", "system_memory_usage_bytes"),
    ("http.server.duration", "s", "histogram", "http_server_duration_seconds"),
    ("http_seconds", "s", "gauge", "http_seconds"),
    ("requests_total", "", "counter", "requests_total"),
    ("total_requests", "{request}", "counter", "requests_total"),
    ("load", "1", "gauge", "load_ratio"),
    ("objects", "1", "counter", "objects_total"),
    ("rate", "By/s", "gauge", "rate_bytes_per_second"),
    ("rate", "{packet}/s", "gauge", "rate_per_second"),
    ("wind", "m/fortnight", "gauge", "wind_meters_per_fortnight"),
    ("a..b__c--d", "", "gauge", "a_b_c_d"),
    ("ends.", "", "gauge", "ends"),
    ("2xx", "", "gauge", "_2xx"),
    ("ns:rule", "", "gauge", "ns:rule"),
    ("temp", "Cel", "gauge", "temp_celsius"),
    ("größe", "", "gauge", "gr_e"),
    ("ü", "", "gauge", ""),
]


@pytest.mark.parametrize(("name", "unit", "kind", "becomes"), NAMES)
def test_names_and_units_become_what_the_specification_says(name: str, unit: str, kind: str, becomes: str) -> None:
    total, is_gauge = kind == "counter", kind == "gauge"
    assert metric_name(name, unit, total=total, gauge=is_gauge, suffixes=True, namespace="") == becomes
    if becomes:
        longer = metric_name(name, unit, total=total, gauge=is_gauge, suffixes=True, namespace="acme")
        assert longer == f"acme_{becomes.lstrip('_')}"


def test_without_suffixes_a_name_stays_a_name() -> None:
    assert metric_name("a.b", "By", total=True, gauge=False, suffixes=False, namespace="") == "a_b"


@pytest.mark.parametrize(
    ("key", "becomes"),
    [
        ("http.method", "http_method"),
        ("a--b", "a_b"),
        ("1st", "key_1st"),
        ("_x", "key_x"),
        ("__x", "key_x"),
        ("ü", "key_"),
    ],
)
def test_keys_become_labels(key: str, becomes: str) -> None:
    assert label_name(key) == becomes


def test_attributes_that_become_one_label_are_joined_and_those_that_are_ours_are_exported() -> None:
    labels = {
        "a.b": "2",
        "a_b": "3",
        "a b": "1",
        "job": "x",
        "exported_job": "w",
        "le": "5",
        "empty": "",
        "n": True,
        "l": (1, None),
    }
    batch = metrics([Metric("m", p.Gauge((NumberPoint(START, 1, labels),)))], {"service.name": "shop"})
    assert list(read(shown(batch))) == [
        (
            "m",
            (
                ("a_b", "1;2;3"),
                ("exported_job", "w;x"),
                ("exported_le", "5"),
                ("job", "shop"),
                ("l", "[1,null]"),
                ("n", "true"),
            ),
        )
    ]


def test_an_empty_label_is_no_label() -> None:
    """Prometheus cannot tell the two apart, so they are one series here too."""
    one, two = (NumberPoint(START + n, n, attributes) for n, attributes in ((0, {"a": ""}), (1, {})))
    assert read(shown(metrics([Metric("m", p.Gauge((one, two)))], {}))) == {("m", ()): 1}


def test_scopes_const_labels_resources_and_times_are_shown_as_asked() -> None:
    scope = p.ScopeMetrics(
        (Metric("m", p.Gauge((NumberPoint(START, 1),)), description="What\nit \\ is"),),
        p.Scope("lib", "1.2", {"kind": "x"}),
        "https://schema",
    )
    batch = Metrics((p.ResourceMetrics((scope,), p.Resource({"host.name": "h", "service.name": "s"})),))
    own = (("job", "s"),)
    scoped = (
        ("otel_scope_kind", "x"),
        ("otel_scope_name", "lib"),
        ("otel_scope_schema_url", "https://schema"),
        ("otel_scope_version", "1.2"),
    )
    page = shown(batch)
    assert ("m", own + scoped) in read(page)
    assert b"# HELP m What\\nit \\\\ is\n" in page
    given = PrometheusConfig(
        "127.0.0.1:0",
        namespace="acme",
        const_labels={"plant": "7"},
        send_timestamps=True,
        resource_to_telemetry_conversion=ConversionConfig(enabled=True),
        without_scope_info=True,
    )
    text = shown(batch, config=given).decode()
    assert f'acme_m{{host_name="h",job="s",plant="7",service_name="s"}} 1 {START // 1_000_000}\n' in text
    assert 'acme_target_info{host_name="h",job="s"} 1\n' in text


def test_kinds_of_metrics_become_kinds_of_prometheus() -> None:
    point = (NumberPoint(START, 1),)
    several = [
        Metric("up", p.Sum(point, CUMULATIVE, monotonic=True)),
        Metric("both", p.Sum(point, CUMULATIVE, monotonic=False)),
        Metric("level", p.Gauge(point)),
        Metric("old", p.Gauge(point), metadata={"prometheus.type": "unknown"}),
        Metric("h", p.Histogram((p.HistogramPoint(START, 1),), CUMULATIVE)),
        Metric("e", p.ExponentialHistogram((p.ExponentialPoint(START, 4, 3, sum=8.0),), DELTA)),
        Metric("s", p.Summary((p.SummaryPoint(START, 2, 3.0, ((0.5, 1.0), (0.0, 0.5))),))),
        Metric("nothing", None),
    ]
    page = shown(metrics(several, {}))
    kinds = ["counter", "gauge", "gauge", "untyped", "histogram", "histogram", "summary"]
    assert types(page) == dict(sorted(zip(["up_total", "both", "level", "old", "h", "e", "s"], kinds, strict=True)))
    found = {(name, *(text for _, text in labels)): number for (name, labels), number in read(page).items()}
    assert {key: number for key, number in found.items() if key[0][0] in "se"} == {
        ("s", "0"): 0.5,
        ("s", "0.5"): 1,
        ("s_sum",): 3,
        ("s_count",): 2,
        ("e_bucket", "+Inf"): 4,
        ("e_sum",): 8,
        ("e_count",): 4,
    }


# --- histograms ---------------------------------------------------------------------------------------------------


def histogram(
    observed: Sequence[float], bounds: Sequence[float], at: int = 0, kind: Temporality = CUMULATIVE
) -> Metrics:
    edges = [-math.inf, *bounds, math.inf]
    counts = tuple(sum(a < one <= b for one in observed) for a, b in pairwise(edges))
    point = p.HistogramPoint(
        START + at * SECOND, len(observed), float(sum(observed)), tuple(bounds), counts, start=START + (at - 1) * SECOND
    )
    return metrics([Metric("h", p.Histogram((point,), kind))], {})


FINITE = st.floats(-1e6, 1e6).map(lambda number: number + 0.0)  # no -0.0
BOUNDS = st.lists(FINITE, max_size=6, unique=True).map(sorted)


@given(st.lists(FINITE, max_size=20), BOUNDS)
def test_each_bucket_has_what_is_at_most_its_bound(observed: list[float], bounds: list[float]) -> None:
    found = read(shown(histogram(observed, bounds)))
    by_bound = {float(dict(labels)["le"]): number for (name, labels), number in found.items() if name == "h_bucket"}
    assert by_bound == {bound: sum(one <= bound for one in observed) for bound in (*bounds, math.inf)}
    assert found["h_count", ()] == len(observed)
    if not bounds or bounds[0] >= 0:
        assert found["h_sum", ()] == pytest.approx(sum(observed), abs=1e-6)
    else:
        assert ("h_sum", ()) not in found, "a sum that can fall is no counter"


@given(st.lists(st.lists(st.floats(0, 1000), max_size=5), min_size=1, max_size=4))
def test_deltas_of_histograms_add_up_to_one(batches: list[list[float]]) -> None:
    bounds = (0.0, 1.0, 100.0)
    added = shown(*(histogram(one, bounds, at, DELTA) for at, one in enumerate(batches)))
    assert read(added) == pytest.approx(read(shown(histogram(list(chain(*batches)), bounds))))


def test_a_bound_of_zero_and_one_of_infinity_are_buckets_like_others() -> None:
    point = p.HistogramPoint(START, 6, 9.0, (0.0, 5.0, math.inf), (1, 2, 2, 1))
    page = shown(metrics([Metric("h", p.Histogram((point,), CUMULATIVE))], {}))
    assert re.findall(r'le="([^"]+)"} (\d+)', page.decode()) == [("0", "1"), ("5", "3"), ("+Inf", "6")]


def test_other_bounds_begin_anew() -> None:
    page = shown(histogram([1, 1], (5.0,), 0, DELTA), histogram([1], (7.0,), 1, DELTA))
    assert value(page, "h_count") == 1


# --- time ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=8), st.data())
def test_deltas_add_up_however_often_each_is_told(values: list[int], data: st.DataObject) -> None:
    store, ends = Store(HERE), [START + at * SECOND for at in range(len(values) + 1)]
    for at, number in enumerate(values):
        told = counted(number, at + 1, ends[at])
        store.put(told.resources[0], 0.0)
        for before in data.draw(st.lists(st.integers(0, at), max_size=2)):
            again = store.put(counted(values[before], before + 1, ends[before]).resources[0], 0.0)
            assert again == {(Reason.OLD, "c"): 1}
    assert value(store.page(), "c_total") == sum(values)


def test_a_delta_after_a_gap_is_added_and_one_without_a_start_too() -> None:
    page = shown(counted(5, 1), counted(3, 10, START + 8 * SECOND), counted(1, 11, 0))
    assert value(page, "c_total") == 9


def test_a_value_that_is_older_than_what_is_there_is_not_shown() -> None:
    store = Store(HERE)
    for at, refused in ((5, 0), (3, 1), (5, 0)):
        point = NumberPoint(START + at * SECOND, at)
        assert sum(store.put(metrics([Metric("m", p.Gauge((point,)))], {}).resources[0], 0).values()) == refused
    assert value(store.page(), "m") == 5


def test_a_series_that_ends_or_is_not_renewed_is_gone_and_with_the_last_the_metric_and_the_target() -> None:
    store = Store(HERE)
    first = gauge([1], **{p.DEVICE: "demo.b01"}).resources[0]
    second = gauge([1], **{p.DEVICE: "demo.b02"}).resources[0]
    store.put(first, 0.0)
    store.put(second, 200.0)
    store.expire(300.0)
    assert b"demo.b01" in store.page()
    store.expire(300.1)
    assert b"demo.b01" not in store.page()
    assert b"demo.b02" in store.page()
    ended = NumberPoint(START + SECOND, None, {"state": "used"}, flags=1)
    store.put(metrics([Metric("m", p.Gauge((ended,)), "By")], {p.DEVICE: "demo.b02"}).resources[0], 301.0)
    assert types(store.page()) == {"target_info": "gauge"}
    store.expire(1000.0)
    assert (store.page(), store.series, store.size) == (b"", 0, 0)


# --- what cannot be shown, and limits -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (p.Sum((NumberPoint(START, 1),), DELTA, monotonic=False), Reason.TEMPORALITY),
        (p.Sum((NumberPoint(START, 1),), Temporality.UNSPECIFIED, monotonic=True), Reason.TEMPORALITY),
        (p.Histogram((p.HistogramPoint(START, 1),), Temporality.UNSPECIFIED), Reason.TEMPORALITY),
        (p.Histogram((p.HistogramPoint(START, 1, 1.0, (1.0, 1.0), (1, 0, 0)),), CUMULATIVE), Reason.MALFORMED),
        (p.Histogram((p.HistogramPoint(START, 1, 1.0, (2.0, 1.0), (1, 0, 0)),), CUMULATIVE), Reason.MALFORMED),
        (p.Histogram((p.HistogramPoint(START, 1, 1.0, (1.0, math.nan), (1, 0, 0)),), CUMULATIVE), Reason.MALFORMED),
        (p.Histogram((p.HistogramPoint(START, 1, 1.0, (1.0,), (1,)),), CUMULATIVE), Reason.MALFORMED),
        (p.Gauge((NumberPoint(START, None),)), Reason.MALFORMED),
        (p.Sum((NumberPoint(START, -1),), DELTA, monotonic=True), Reason.MALFORMED),
        (p.Sum((NumberPoint(START, math.nan),), DELTA, monotonic=True), Reason.MALFORMED),
    ],
)
def test_what_prometheus_cannot_be_told_is_counted_and_the_rest_is_shown(data: p.MetricData, reason: Reason) -> None:
    store = Store(HERE)
    batch = metrics([Metric("bad", data), Metric("good", p.Gauge((NumberPoint(START, 1),)))], {})
    assert store.put(batch.resources[0], 0.0) == {(reason, "bad"): 1}
    assert read(store.page()) == {("good", ()): 1}


@pytest.mark.parametrize("second", ["a", "a_count", "a_bucket"])
def test_no_two_metrics_give_one_series(second: str) -> None:
    store = Store(HERE)
    store.put(metrics([Metric("a", p.Histogram((p.HistogramPoint(START, 1),), CUMULATIVE))], {}).resources[0], 0.0)
    other = metrics([Metric(second, p.Gauge((NumberPoint(START, 1),)))], {})
    assert store.put(other.resources[0], 0.0) == {(Reason.CONFLICT, second): 1}
    assert store.put(metrics([Metric("target.info", p.Gauge((NumberPoint(START, 1),)))], {}).resources[0], 0.0)
    store.expire(1000.0)
    assert not store.put(other.resources[0], 1000.0)


@given(METRICS, METRICS)
@settings(max_examples=100, deadline=None)
def test_whatever_comes_the_page_can_be_read_and_is_within_its_account(first: Metrics, second: Metrics) -> None:
    store = Store(
        replace(
            HERE, send_timestamps=True, limits=LimitsConfig(series=9, target_series=6, metric_series=5, label_bytes=256)
        )
    )
    for now, batch in enumerate((first, second)):
        for resource in batch.resources:
            store.put(resource, float(now))
    page = store.page()
    assert len(read(page)) == store.series <= 9
    assert len(page) <= store.size + 100  # the head of `target_info`
    for line in page.decode().rstrip("\n").split("\n") if page else ():
        assert re.fullmatch(r"# (HELP|TYPE) .*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{.+\})? \S+( \d+)?", line)
    store.expire(1e9)
    assert (store.page(), store.series, store.size) == (b"", 0, 0)
    assert not store._targets
    assert not store._families
    assert store._taken == {"target_info"}


def exploded(count: int, name: str = "exploded", **resource: str) -> Metrics:
    points = tuple(NumberPoint(START, n, {"user": f"{n:06}"}) for n in range(count))
    return metrics([Metric(name, p.Gauge(points))], resource)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(config: PrometheusConfig, scenario: Callable[[PrometheusExporter, Clock, Host], Any], meter: Meter) -> None:
    async def whole() -> None:
        clock, host = Clock(), Host()
        exporter = PrometheusExporter(doubles.settings("prometheus", meter), config, clock)
        await exporter.start(host)
        try:
            await scenario(exporter, clock, host)
        finally:
            await exporter.shutdown()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_a_label_explosion_costs_its_own_metric_and_is_a_status_until_it_is_over() -> None:
    meter, limits = Meter(), LimitsConfig(series=1000, target_series=100, metric_series=80)

    async def scenario(exporter: PrometheusExporter, clock: Clock, host: Host) -> None:
        for _ in range(3):
            await exporter.consume(exploded(5000, **{p.DEVICE: "demo.b01"}))
        await exporter.consume(gauge([1, 2], "good", **{p.DEVICE: "demo.b01"}))
        await exporter.consume(gauge([7], "good", **{p.DEVICE: "demo.b02"}))
        page = exporter.page()
        assert value(page, "good_bytes", instance="demo.b01", state="used") == 2
        assert value(page, "good_bytes", instance="demo.b02", state="used") == 7
        assert len(re.findall(rb"^exploded\{", page, re.MULTILINE)) == 80
        errors = [event for event in host.events if event.status is Status.RECOVERABLE_ERROR]
        says = "'exploded' is more than limits::metric_series (80) lets through"
        assert [str(event.error).partition(" (find")[0] for event in errors] == [says]
        assert host.status is Status.RECOVERABLE_ERROR
        clock.now += 301
        exporter.look(clock.now)
        assert host.status is Status.OK

    run(replace(HERE, limits=limits), scenario, meter)
    assert meter.total("collector_prometheus_refused_points") == 3 * (5000 - 80)
    assert 'reason="metric_series"' in meter.exposition().decode()


def test_a_target_with_many_metrics_leaves_room_for_others() -> None:
    store = Store(replace(HERE, limits=LimitsConfig(target_series=100, metric_series=80)))
    for n in range(9):
        store.put(exploded(30, f"m{n}", **{p.DEVICE: "demo.b01"}).resources[0], 0.0)
    assert store.series == 100
    assert not store.put(exploded(30, **{p.DEVICE: "demo.b02"}).resources[0], 0.0)


def test_targets_that_explode_leave_what_is_there_and_cost_no_memory() -> None:
    store = Store(replace(HERE, limits=LimitsConfig(series=50)))
    store.put(gauge([1], "good").resources[0], 0.0)
    for n in range(500):
        store.put(gauge([1], "good", **{"service.instance.id": f"{n}", "a": "b"}).resources[0], 0.0)
    assert store.series == 50
    assert len(store._targets) <= 50
    assert not store.put(gauge([1, 3], "good").resources[0], 1.0)
    assert value(store.page(), "good_bytes", state="used") == 3


@pytest.mark.parametrize(
    "batch",
    [
        metrics([Metric("m", p.Gauge((NumberPoint(START, 1, {"a": "x" * 5000}),)))], {}),
        metrics([Metric("m", p.Gauge((NumberPoint(START, 1, {"a" * 5000: "x"}),)))], {}),
        metrics([Metric("m" * 5000, p.Gauge((NumberPoint(START, 1),)))], {}),
        metrics([Metric("m", p.Gauge((NumberPoint(START, 1),)), "u" * 5000)], {}),
        metrics([Metric("m", p.Gauge((NumberPoint(START, 1),)))], {"service.name": "x" * 5000}),
        metrics([Metric("m", p.Gauge((NumberPoint(START, 1, {"a": "ü" * 2100}),)))], {}),
    ],
)
def test_names_and_labels_that_are_too_long_are_refused(batch: Metrics) -> None:
    store = Store(HERE)
    assert {reason for reason, _ in store.put(batch.resources[0], 0.0)} == {Reason.LABEL_BYTES}
    assert (store.page(), store.series) == (b"", 0)


def test_the_page_has_a_size_that_many_long_labels_cannot_exceed() -> None:
    store = Store(replace(HERE, limits=LimitsConfig(size_mib=1)))
    points = tuple(NumberPoint(START, n, {"a": f"{n:04}" * 900}) for n in range(400))
    refused = store.put(metrics([Metric("m", p.Gauge(points))], {}).resources[0], 0.0)
    assert set(refused) == {(Reason.SIZE, "m")}
    assert 900_000 < len(store.page()) <= store.size <= 1 << 20


def test_a_histogram_that_grows_beyond_a_limit_keeps_what_it_had() -> None:
    store = Store(replace(HERE, limits=LimitsConfig(series=10)))
    store.put(histogram([1], (1.0, 2.0)).resources[0], 0.0)
    grown = histogram([1, 1], tuple(map(float, range(20))), 1)
    assert store.put(grown.resources[0], 0.0) == {(Reason.SERIES, "h"): 1}
    assert value(store.page(), "h_count") == 1


def test_many_scrapes_at_once_get_one_page() -> None:
    async def scenario(exporter: PrometheusExporter, clock: Clock, _host: Host) -> None:
        await exporter.consume(exploded(4000))
        pages = await asyncio.gather(*(get(exporter.port, "/metrics") for _ in range(12)))
        assert {page.partition(b"\r\n\r\n")[2] for page in pages} == {exporter.page()}
        assert exporter.page() is exporter.page()
        await exporter.consume(gauge([1], "later"))
        assert b"later" not in exporter.page()
        clock.now += 1
        assert b"later" in exporter.page()

    run(HERE, scenario, Meter())


def test_what_cannot_be_shown_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(exporter: PrometheusExporter, _clock: Clock, host: Host) -> None:
        bad = Metric("bad", p.Sum((NumberPoint(START, 1),), DELTA, monotonic=False))
        for _ in range(3):
            await exporter.consume(metrics([bad], {}))
        assert host.status is Status.STARTING, "it is no fault of the exporter"

    run(HERE, scenario, Meter())
    assert [record.getMessage() for record in caplog.records if "bad" in record.getMessage()] == [
        "'bad' is not shown: a delta that can fall, or no temporality; more such are only counted"
    ]
