"""Shaping one direction: properties for every link, then figures that can be computed by hand."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.sim.profiles import Burst, Direction, Outage
from edgesync.sim.shape import IN_FLIGHT_LIMIT, Counters, Drop, Shaper, Tally

rates = st.sampled_from([0, 2_400, 32_000, 1_000_000])
lossy_directions = st.builds(
    Direction,
    rates,
    st.just(0.5),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.none() | st.just(Burst(10, 3, 0.7)),
    st.sampled_from([1500, 8_000, 65_536]),
)
offers = st.lists(st.tuples(st.integers(20, 1500), st.floats(0, 2)), max_size=80)
outages = st.none() | st.just(Outage(3.0, 1.0))


def play(shaper, packets):
    """Offer packets of (length, seconds since the one before); the outcomes with the time of each offer."""
    now, outcomes = 0.0, []
    for length, gap in packets:
        now += gap
        outcomes.append((length, now, shaper.offer(length, now)))
    return outcomes


@given(lossy_directions, outages, offers, st.integers())
def test_the_same_seed_and_the_same_offers_give_the_same_link(direction, outage, packets, seed):
    first, second = (play(Shaper(direction, outage, seed), packets) for _ in range(2))
    assert first == second


@given(lossy_directions, outages, offers)
def test_no_packet_overtakes_another_or_arrives_before_it_can(direction, outage, packets):
    last = 0.0
    for length, now, outcome in play(Shaper(direction, outage), packets):
        if not isinstance(outcome, Drop):
            wire = length * 8 / direction.rate if direction.rate else 0
            assert outcome >= now + wire + direction.delay - direction.jitter - 1e-9
            assert outcome >= last
            last = outcome


@given(lossy_directions, outages, offers)
def test_every_packet_is_accounted_for_exactly_once(direction, outage, packets):
    shaper = Shaper(direction, outage)
    for index, (length, _, outcome) in enumerate(play(shaper, packets)):
        if not isinstance(outcome, Drop) and index % 3:
            shaper.abandoned(length) if index % 2 else shaper.delivered(length)
    counters = shaper.counters()
    assert counters.offered == Tally(len(packets), sum(length for length, _ in packets))
    assert counters.in_flight.packets >= 0
    assert counters.in_flight.bytes >= 0
    assert Counters.from_dict(counters.to_dict()) == counters


@given(st.sampled_from([2_400, 32_000]), offers)
def test_no_second_carries_more_than_the_rate(rate, packets):
    arrivals = [
        (o, length) for length, _, o in play(Shaper(Direction(rate, queue=65_536)), packets) if not isinstance(o, Drop)
    ]
    for start, _ in arrivals:
        carried = sum(length for due, length in arrivals if start < due <= start + 1.0)
        assert carried * 8 <= rate + 1500 * 8


@given(offers)
def test_another_jitter_does_not_change_which_packets_are_lost(packets):
    calm = Direction(0, delay=0.5, loss=0.3)
    nervous = dataclasses.replace(calm, jitter=0.4)
    lost = [[o is Drop.LOST for *_, o in play(Shaper(d), packets)] for d in (calm, nervous)]
    assert lost[0] == lost[1]


def test_a_packet_takes_its_time_on_the_wire_and_then_its_delay():
    shaper = Shaper(Direction(32_000, delay=0.3))
    assert shaper.offer(1500, 10.0) == pytest.approx(10.0 + 0.375 + 0.3)
    assert shaper.offer(1500, 10.0) == pytest.approx(10.0 + 0.750 + 0.3)
    assert shaper.backlog(10.375) == pytest.approx(1500)


def test_a_full_queue_drops_the_newest_and_drains_at_the_rate():
    shaper = Shaper(Direction(32_000, queue=3000))
    assert [shaper.offer(1500, 0.0) for _ in range(3)] == [0.375, 0.75, Drop.OVERFLOW]
    assert shaper.offer(1500, 0.375) == pytest.approx(1.125)


def test_loss_comes_near_its_fraction():
    shaper = Shaper(Direction(0, loss=0.05), seed=7)
    lost = sum(shaper.offer(1000, float(n)) is Drop.LOST for n in range(20_000))
    assert lost / 20_000 == pytest.approx(0.05, abs=0.006)


def test_bursts_lose_their_fraction_in_runs():
    direction = Direction(0, burst=Burst(gap=95, length=5))
    shaper = Shaper(direction, seed=3)
    lost = [shaper.offer(100, float(n)) is Drop.LOST for n in range(50_000)]
    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(direction.mean_loss, abs=0.01)
    assert sum(lost) / runs == pytest.approx(5, abs=0.6)


def test_a_packet_that_would_leave_in_an_outage_is_gone():
    shaper = Shaper(Direction(0), Outage(period=10, length=3), start=100.0)
    outcomes = [shaper.offer(100, 100.0 + t) for t in (0, 6.9, 7.0, 9.9, 10.0)]
    assert outcomes == [100.0, 106.9, Drop.OUTAGE, Drop.OUTAGE, 110.0]


def test_an_unplugged_link_drops_everything_until_it_is_plugged_in():
    shaper = Shaper(Direction(0))
    shaper.unplug()
    assert shaper.offer(100, 1.0) is Drop.CUT
    shaper.plug()
    assert shaper.offer(100, 2.0) == 2.0
    shaper.cut(until=5.0)
    assert [shaper.offer(100, t) for t in (4.9, 5.0)] == [Drop.CUT, 5.0]


def test_a_flushed_link_is_free_at_once():
    shaper = Shaper(Direction(8_000, delay=0.1))
    assert shaper.offer(1000, 0.0) == pytest.approx(1.1)
    shaper.abandoned(1000)
    shaper.flush(0.5)
    assert shaper.backlog(0.5) == 0
    assert shaper.offer(1000, 0.5) == pytest.approx(1.6)
    assert shaper.counters().cut == Tally(1, 1000)


def test_a_changed_link_keeps_the_order_of_what_is_on_its_way():
    shaper = Shaper(Direction(0, delay=5.0))
    assert shaper.offer(100, 0.0) == 5.0
    shaper.change(Direction(0, delay=0.1), None)
    assert shaper.offer(100, 0.0) == 5.0
    assert shaper.offer(100, 6.0) == pytest.approx(6.1)


def test_a_link_without_a_rate_still_holds_a_bounded_number_of_bytes():
    shaper = Shaper(Direction(0, delay=3600.0))
    taken = 0
    while shaper.offer(65_536, 0.0) is not Drop.OVERFLOW:
        taken += 65_536
    assert IN_FLIGHT_LIMIT - 65_536 <= taken <= IN_FLIGHT_LIMIT
