"""When the next piece may be asked for, and fetches that keep to it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_broker import ROOT, Link, Session, blob_of

from edgesync.agent.fetch import Fetch
from edgesync.agent.pace import OVERHEAD, SLACK, SPENT_LIMIT, Pace
from edgesync.wire import blob as layout
from edgesync.wire.messages import Manners

PIECE = layout.PIECE
DATA = random.Random(11).randbytes(12 * PIECE + 700)
INDEX, MESSAGES = blob_of(DATA)


def paced(manners: Manners, rate: float = 4000.0) -> Session:
    fetch = Fetch(ROOT, INDEX.blob, INDEX.length, pace=Pace(manners))
    made = Session(fetch, Link(dict(MESSAGES), rate=rate))
    made.connect()
    return made


@given(
    rate=st.integers(1, 1_000_000),
    looks=st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(1, PIECE)), min_size=1, max_size=40),
)
def test_since_the_beginning_no_more_is_asked_for_than_the_rate_and_over_any_time_one_piece_more(
    rate: int, looks: list[tuple[float, int]]
) -> None:
    pace, now, asked = Pace(Manners(rate=rate)), 1000.0, []
    first = now + looks[0][0]
    for step, size in looks:
        now += step
        first = min(first, now)
        if pace.free(now):
            pace.asked(size, now)
            asked.append((now, size))
    for number, (begin, _) in enumerate(asked):
        for last, (end, _) in enumerate(asked[number:], number):
            before = sum(size for _, size in asked[number:last])
            assert OVERHEAD * before <= rate * (end - begin + SLACK) * 1.000001
    for last, (end, _) in enumerate(asked):
        assert OVERHEAD * sum(size for _, size in asked[: last + 1]) <= rate * (end - first + SLACK) * 1.000001


@given(share=st.integers(1, 99), spent=st.lists(st.floats(0.01, SPENT_LIMIT), min_size=1, max_size=30))
def test_a_share_of_the_time_is_all_that_pieces_take(share: int, spent: list[float]) -> None:
    pace, now = Pace(Manners(share=share)), 50.0
    for seconds in spent:
        while not pace.free(now):
            now += 0.5
        pace.asked(PIECE, now)
        now += seconds
        pace.came(seconds, now)
    while not pace.free(now):
        now += 0.5
    assert sum(spent) <= (now - 50.0) * share / 100 * 1.000001


def test_without_manners_there_is_no_pause() -> None:
    pace = Pace()
    for _ in range(100):
        assert pace.free(0.0)
        pace.asked(PIECE, 0.0)
        pace.came(30.0, 0.0)
    assert pace.window(2) == 2
    assert not pace.limited


def test_a_piece_that_was_on_its_way_while_the_link_was_gone_costs_no_pause_of_days() -> None:
    pace = Pace(Manners(share=10))
    pace.came(86400.0, 0.0)
    assert pace.free(SPENT_LIMIT * 9 + 1)


def test_new_manners_end_a_pause() -> None:
    pace = Pace(Manners(rate=10))
    assert not pace.free(0.0)
    pace.asked(PIECE, 0.0)
    assert not pace.free(60.0)
    pace.follow(Manners(rate=10, budget=7))
    assert not pace.free(60.0)
    pace.follow(Manners(share=50))
    assert pace.free(60.0)


@pytest.mark.parametrize("manners", [Manners(rate=500), Manners(share=20), Manners(rate=900, share=70)])
def test_a_fetch_with_manners_comes_whole_every_byte_once_and_its_pauses_are_no_silence(manners: Manners) -> None:
    made = paced(manners)
    made.run(86400)
    assert made.data == DATA
    assert made.told == []
    assert made.link.filters == []
    assert made.fetch.arrived == len(DATA)
    assert not [topic for topic in made.link.sent if topic.endswith("/kick")]
    if manners.rate:
        assert made.now >= OVERHEAD * (len(DATA) - 2 * PIECE) / manners.rate - SLACK
    if manners.share < 100:
        assert made.now >= (len(DATA) - PIECE) / 4000 * 100 / manners.share * 0.9


def test_a_rate_above_the_links_costs_no_time() -> None:
    usual, fast = paced(Manners()), paced(Manners(rate=1_000_000))
    usual.run(600)
    fast.run(600)
    assert usual.data == fast.data == DATA
    assert fast.now <= usual.now + 3


def test_a_missing_blob_is_told_in_spite_of_a_share() -> None:
    fetch = Fetch(ROOT, INDEX.blob, INDEX.length, pace=Pace(Manners(share=30)))
    made = Session(fetch, Link({}))
    made.connect()
    made.run(1200)
    assert made.told == ["Starved"]


@given(cuts=st.lists(st.floats(0.5, 40.0), max_size=8), manners=st.sampled_from([Manners(rate=800), Manners(share=40)]))
def test_cuts_in_and_between_pauses_cost_nothing_that_had_come(cuts: list[float], manners: Manners) -> None:
    made = paced(manners)
    for seconds in cuts:
        made.run(seconds)
        if not made.fetch.complete:
            made.cut()
            made.connect()
    made.run(86400)
    assert made.data == DATA
    assert made.fetch.arrived == len(DATA)


def test_a_fetch_that_is_stopped_rests_when_what_was_asked_for_has_come_and_goes_on_where_it_was() -> None:
    made = paced(Manners())
    made.run(9)
    made.fetch.pace.stopped = True
    made.run(600)
    assert made.fetch.resting
    done = made.fetch.done
    assert 0 < done < len(DATA)
    assert made.told == []
    made.fetch.pace.stopped = False
    made.run(600)
    assert made.data == DATA
    assert made.fetch.arrived == len(DATA)
