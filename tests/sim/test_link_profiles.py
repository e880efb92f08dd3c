"""The list of named links, and what a profile refuses."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.sim import profiles
from edgesync.sim.profiles import Burst, Direction, LinkProfile, Outage
from edgesync.wire.errors import ConfigError

REQUIRED = {"narrow-32k", "nbiot", "lte-m", "2g", "sat-600ms", "wifi-bad", "lte-256k"}


def fraction():
    return st.floats(0, 1)


def directions():
    bursts = st.builds(Burst, st.floats(1, 1e4), st.floats(1, 1e4), fraction())
    return st.floats(0, 60).flatmap(
        lambda delay: st.builds(
            Direction,
            st.integers(0, 10**9),
            st.just(delay),
            st.floats(0, delay),
            fraction(),
            st.none() | bursts,
            st.integers(1500, 1 << 20),
        )
    )


outages = st.floats(0.001, 1e6).flatmap(lambda period: st.builds(Outage, st.just(period), st.floats(0, period)))
links = st.builds(
    LinkProfile,
    st.text(),
    st.text(),
    st.text(),
    directions(),
    directions(),
    st.integers(576, 1500),
    st.none() | outages,
    st.floats(0, 1e6),
)


@given(links)
def test_a_profile_survives_its_way_to_the_emulator_and_back(profile):
    assert LinkProfile.from_dict(profile.to_dict()) == profile


def test_every_named_link_loads_and_tells_its_source():
    assert set(profiles.names()) >= REQUIRED
    for name in profiles.names():
        profile = profiles.load(name)
        assert profile.name == name
        assert len(profile.source) > 20
        assert profile.summary


def test_the_link_that_figures_are_measured_on_is_what_its_name_says():
    profile = profiles.load("narrow-32k")
    assert (profile.down.rate, profile.up.rate, profile.round_trip) == (32_000, 32_000, 0.6)
    assert not profile.loses_packets
    assert profile.payload_rate() == pytest.approx(4000 * 1448 / 1500)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'lan'.*narrow-32k.*wifi-bad"):
        profiles.load("lan")


def test_loss_replaces_the_profiles_own_losses_and_can_be_taken_away():
    bad = profiles.load("wifi-bad")
    assert bad.loses_packets
    assert bad.down.mean_loss == pytest.approx(0.05)
    assert bad.with_loss(0.2).down.mean_loss == 0.2
    assert not bad.without_loss().loses_packets
    assert bad.without_loss().outage == bad.outage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": -1}, r"'rate'.*-1.*bit/s"),
        ({"rate": float("nan")}, r"'rate'.*nan"),
        ({"delay": 4000}, r"'delay'.*seconds"),
        ({"jitter": 2.0}, r"'jitter'.*at most the delay"),
        ({"loss": 5}, r"'loss'.*fraction"),
        ({"queue": 0}, r"'queue'.*bytes"),
        ({"queue": True}, r"'queue'"),
        ({"delay": "300ms"}, r"'delay'.*'300ms'"),
    ],
)
def test_a_value_that_no_link_has_is_refused_with_its_unit(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(Direction(32_000, delay=1.0), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, r"'colour' is unknown in LinkProfile"),
        ({"down": 5}, r"'down'.*a table"),
        ({"down": {"delay": 1}}, r"missing.*'rate'"),
        ({"down": {"rate": 1, "latency": 2}}, r"'latency' is unknown in Direction, expected one of rate, delay"),
        ({"outage": {"period": 5, "length": 6}}, r"'outage.length'.*at most the period"),
        ({"mtu": 100}, r"'mtu'.*bytes"),
        ({"summary": 3}, r"'summary'.*text"),
        ({"down": {"rate": 1, "queue": 1000}}, r"'down.queue'.*at least one packet"),
    ],
)
def test_a_wrong_table_is_refused_with_where_it_stands(change, message):
    table = {**profiles.load("narrow-32k").to_dict(), **change}
    with pytest.raises(ConfigError, match=rf"here: .*{message}"):
        LinkProfile.from_dict(table, "here")


def test_replacing_a_field_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="'rate'"):
        profiles.load("2g").replace(rate=5)


def test_an_outage_is_the_end_of_each_period():
    outage = Outage(period=60, length=20)
    assert [outage.remaining(t) for t in (0, 39.5, 40, 59, 60, 100)] == [0, 0, 20, 1, 0, 20]
