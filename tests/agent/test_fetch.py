"""Fetching a blob from a broker and over a link that fail in every way that was seen, and in some that were not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_broker import FLEET, ROOT, Link, Session, blob_of

from edgesync.agent import fetch as protocol
from edgesync.agent.fetch import Fetch
from edgesync.agent.pauses import LIMIT as PAUSE_LIMIT
from edgesync.wire import blob as layout
from edgesync.wire import topics
from edgesync.wire.blob import BlobIndex
from edgesync.wire.errors import BlobCorruptError, EdgesyncError
from edgesync.wire.topics import Topic

PIECE, BLOCK = layout.PIECE, layout.BLOCK
DATA = random.Random(7).randbytes(5 * PIECE + 3000)
INDEX, MESSAGES = blob_of(DATA)
DAY = 86400.0


def session(index: BlobIndex = INDEX, messages: dict[str, bytes] = MESSAGES, **link: object) -> Session:
    """A fetch on a link to a broker that holds these messages, connected."""
    made = Session(Fetch(ROOT, index.blob, index.length), Link(dict(messages), **link))  # type: ignore[arg-type]
    made.connect()
    return made


def block(number: int, at: int = 0) -> str:
    return topics.block(ROOT, INDEX.blob, number, at)


def index_topic() -> str:
    return topics.index(ROOT, INDEX.blob)


def leaf_topic() -> str:
    return topics.leaf(ROOT, INDEX.blob, 0)


def finished(made: Session, data: bytes = DATA) -> None:
    assert made.fetch.complete
    assert made.data == data
    assert made.link.filters == [], "nothing stays subscribed"


@pytest.mark.parametrize("size", [1, 300, layout.LONE])
def test_a_lone_blob_comes_with_one_message_for_one_filter(size: int) -> None:
    data = DATA[:size]
    index, messages = blob_of(data)
    made = session(index, messages)
    made.run(10)
    finished(made, data)
    assert list(messages) == [topics.index(ROOT, index.blob)]
    assert made.link.sent == {topics.index(ROOT, index.blob): size}
    assert (made.fetch.arrived, made.fetch.metadata) == (size, 0)


def test_a_lone_blob_of_other_bytes_is_refused_and_comes_when_the_right_ones_are_there() -> None:
    index, messages = blob_of(DATA[:300])
    made = session(index, {topics.index(ROOT, index.blob): DATA[:299] + b"!"})
    made.run(2)
    assert not made.fetch.complete
    made.link.store.update(messages)
    made.run(10 * PAUSE_LIMIT)
    finished(made, DATA[:300])


def test_an_index_in_the_place_of_a_lone_blob_is_refused() -> None:
    made = Session(Fetch(ROOT, INDEX.blob, 300), Link(dict(MESSAGES)))
    made.connect()
    made.run(5)
    assert not made.fetch.complete
    assert not made.kept


def test_a_blob_without_faults_comes_once_and_every_byte_once() -> None:
    made = session()
    made.run(60)
    finished(made)
    assert sum(made.link.sent.values()) == sum(map(len, MESSAGES.values()))
    assert made.fetch.arrived == made.fetch.done == len(DATA)
    assert made.told == []


BAD_LINKS = st.fixed_dictionaries(
    {
        "drop": st.sampled_from([0.0, 0.1, 0.4]),
        "double": st.sampled_from([0.0, 0.3]),
        "shuffle": st.booleans(),
        "stall_after": st.sampled_from([0, 1, 5]),
        "rate": st.sampled_from([1200.0, 4000.0, 1e6]),
        "seed": st.integers(0, 99),
    }
)


@given(
    length=st.integers(1, 4 * PIECE + 1),
    block_size=st.sampled_from([512, 4096, 8192, 16384]),
    link=BAD_LINKS,
    cuts=st.lists(st.floats(0.5, 30.0), max_size=6),
)
def test_a_blob_is_complete_and_identical_whatever_was_lost_doubled_shuffled_stuck_or_cut(
    length: int, block_size: int, link: dict[str, object], cuts: list[float]
) -> None:
    data = random.Random(length).randbytes(length)
    index, messages = blob_of(data, block_size)
    made = session(index, messages, **link)
    for seconds in cuts:
        made.run(seconds)
        if not made.fetch.complete:
            made.cut()
            made.connect()
    made.run(3 * DAY, idle=5.0)
    finished(made, data)
    assert "Refused" not in made.told


@given(cuts=st.lists(st.floats(0.1, 12.0), min_size=5, max_size=40), rate=st.sampled_from([1500.0, 4000.0]))
def test_each_cut_costs_at_most_what_was_on_its_way(cuts: list[float], rate: float) -> None:
    made = session(rate=rate)
    for seconds in cuts:
        made.run(seconds)
        if made.fetch.complete:
            break
        made.cut()
        made.connect()
    made.run(DAY)
    finished(made)
    # Blocks that arrived are kept in memory, so what comes again is at most the block that was being sent.
    assert made.fetch.arrived == len(DATA)


def test_a_link_that_is_cut_every_12_s_at_32_kbit_s_finishes_in_proportion() -> None:
    made = session(rate=4000.0)
    while not made.fetch.complete and made.now < 120:
        made.run(12)
        made.cut()
        made.connect()
    made.run(1)
    finished(made)


def test_a_restart_takes_up_what_is_on_the_disk() -> None:
    first = session(rate=4000.0)
    first.run(12)
    assert 0 < len(first.kept) < 6
    assert first.index
    second = Session(
        Fetch(
            ROOT,
            INDEX.blob,
            len(DATA),
            index=INDEX,
            leaves=dict(enumerate(first.index.leaves)),
            have=[offset // PIECE for offset in first.kept],
        ),
        Link(dict(MESSAGES)),
        kept=dict(first.kept),
    )
    second.connect()
    second.run(60)
    finished(second)
    assert second.fetch.arrived == len(DATA) - first.fetch.done
    assert second.fetch.metadata == 0


# --- silence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hole", [[block(3)], [block(5, 0)], [index_topic()], [leaf_topic()], list(MESSAGES)])
def test_what_is_missing_is_told_once_and_flows_at_once_when_it_is_published(hole: list[str]) -> None:
    made = session(messages={t: p for t, p in MESSAGES.items() if t not in hole})
    made.run(1200)
    assert not made.fetch.complete
    assert made.told == ["Starved"]
    made.link.publish({topic: MESSAGES[topic] for topic in hole})
    since = made.now
    made.run(600)
    finished(made)
    assert made.told == ["Starved", "Flowing"]
    assert made.now - since < 5


def test_what_is_missing_is_named() -> None:
    made = session(messages={t: p for t, p in MESSAGES.items() if t not in (block(2), block(4, 1))})
    made.run(120)
    assert "2, 4 of 6 pieces" in made.errors[0]


def test_an_empty_store_is_told_within_a_minute_and_costs_little_for_days() -> None:
    made = session(messages={})
    made.run(60)
    assert made.told == ["Starved"]
    made.run(6 * DAY, idle=10.0)
    assert made.told == ["Starved"]
    assert made.link.asked < 4.2 * 6 * DAY / protocol.SILENCE_MAX


def test_a_missing_blob_is_told_also_over_a_link_that_is_cut_every_12_s() -> None:
    made = session(messages={})
    for _ in range(20):
        made.run(12)
        made.cut()
        made.connect()
    assert made.told == ["Starved"]


def test_a_fetch_that_is_started_anew_tells_again_what_is_missing() -> None:
    made = session(messages={})
    made.run(300)
    made.perform(made.fetch.ask_anew(made.now))
    made.run(300)
    assert made.told == ["Starved", "Starved"]


def test_starting_anew_leaves_no_filter_behind() -> None:
    made = session(messages={t: p for t, p in MESSAGES.items() if t != block(0, 1)})
    made.run(300)
    made.perform(made.fetch.ask_anew(made.now))
    made.run(5)
    made.link.publish({block(0, 1): MESSAGES[block(0, 1)]})
    made.run(5)
    finished(made)


def test_a_broker_that_sticks_after_each_message_is_moved_on_and_nothing_is_paid_twice() -> None:
    made = session(stall_after=1)
    made.run(1200)
    finished(made)
    assert made.told == []
    assert made.fetch.arrived == len(DATA)


def test_a_link_that_is_dead_both_ways_is_not_taken_for_a_missing_blob() -> None:
    made = session()
    made.run(0.25)
    made.link.deaf = True
    asked = made.link.asked
    made.run(900)
    made.link.deaf = False
    made.run(60)
    finished(made)
    assert made.told == []
    assert made.link.asked > asked


def test_a_slow_link_is_not_silent_while_a_block_takes_27_s() -> None:
    made = session(rate=300.0)
    made.run(1000)
    finished(made)
    assert made.told == []
    assert made.fetch.arrived == len(DATA)


def test_bytes_of_something_else_do_not_hide_a_missing_blob_for_ever() -> None:
    made = session(messages={})
    for _ in range(4000):
        made.link.bytes_in += 600
        made.now += 1
        made.perform(made.fetch.tick(made.now, made.link.bytes_in, answered=True))
    assert made.told == ["Starved"]


# --- what is wrong -------------------------------------------------------------------------------------------------


def wrong(payload: bytes) -> bytes:
    return bytes([payload[0] ^ 1]) + payload[1:]


@pytest.mark.parametrize("topic", [block(0), block(3, 1), block(5), leaf_topic(), index_topic()])
@pytest.mark.parametrize("how", [wrong, lambda p: p[:-1], lambda p: p + b"x", lambda p: p * 4, lambda _: b"x"])
def test_what_is_wrong_at_the_broker_is_refused_told_and_mended_when_it_is_published_anew(topic, how) -> None:
    made = session(messages=MESSAGES | {topic: how(MESSAGES[topic])})
    made.run(600)
    assert not made.fetch.complete
    assert set(made.told) == {"Refused", "Starved"}
    made.link.publish(MESSAGES)
    made.run(5)
    finished(made)


@pytest.mark.parametrize("topic", [block(3), leaf_topic(), index_topic()])
@pytest.mark.parametrize("how", [wrong, lambda p: p * 4])
@pytest.mark.parametrize("cut_every", [0, 12])
def test_what_is_wrong_at_the_broker_is_not_paid_for_without_end(topic, how, cut_every: int) -> None:
    made = session(messages=MESSAGES | {topic: how(MESSAGES[topic])})
    days = 2 if not cut_every else 0.2
    while made.now < days * DAY:
        made.run(cut_every or DAY, idle=2.0)
        if cut_every:
            made.cut()
            made.connect()
    tries = 6 + days * DAY / PAUSE_LIMIT
    assert made.link.sent[topic] <= tries * len(how(MESSAGES[topic]))


@pytest.mark.parametrize("topic", [block(3), leaf_topic(), index_topic()])
def test_what_was_mended_while_the_link_was_down_is_found(topic: str) -> None:
    made = session(messages=MESSAGES | {topic: wrong(MESSAGES[topic])})
    made.run(2 * DAY, idle=5.0)
    made.cut()
    made.link.publish({topic: MESSAGES[topic]})
    made.connect()
    made.run(2 * PAUSE_LIMIT)
    finished(made)


@pytest.mark.parametrize("topic", [block(3), leaf_topic(), index_topic()])
def test_what_was_mended_is_asked_for_at_once_when_someone_says_so(topic: str) -> None:
    made = session(messages=MESSAGES | {topic: wrong(MESSAGES[topic])})
    made.run(DAY, idle=5.0)
    made.cut()
    made.link.publish({topic: MESSAGES[topic]})
    made.connect()
    made.perform(made.fetch.ask_anew(made.now))
    made.run(10)
    finished(made)


def test_the_index_of_another_blob_is_refused() -> None:
    other, messages = blob_of(b"x" * len(DATA))
    made = session(messages=MESSAGES | {index_topic(): messages[topics.index(ROOT, other.blob)]})
    made.run(60)
    assert made.told[0] == "Refused"


@pytest.mark.parametrize("hole", [[index_topic()], [leaf_topic()]])
@pytest.mark.parametrize("cut_every", [0, 12])
def test_blocks_whose_index_or_leaf_is_missing_come_once(hole: list[str], cut_every: int) -> None:
    made = session(messages={t: p for t, p in MESSAGES.items() if t not in hole})
    for _ in range(100):
        made.run(cut_every or 300)
        if cut_every:
            made.cut()
            made.connect()
    assert made.fetch.arrived <= protocol.WINDOW * PIECE


def test_an_index_with_another_length_than_the_signed_one_is_refused() -> None:
    made = Session(Fetch(ROOT, INDEX.blob, len(DATA) - 1), Link(dict(MESSAGES)))
    made.connect()
    made.run(60)
    assert made.told[0] == "Refused"
    assert made.fetch.index is None
    assert made.fetch.arrived <= 3 * PIECE


def test_a_leaf_may_come_before_its_index() -> None:
    order = sorted(MESSAGES, key=lambda t: (t != leaf_topic(), t == index_topic()))
    made = session(messages={})
    made.link.publish({topic: MESSAGES[topic] for topic in order if "/index" in topic})
    for topic in order:
        made.link.publish({topic: MESSAGES[topic]})
    made.run(120)
    finished(made)


@settings(max_examples=200)
@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from(["index", "leaf", "block"]),
            st.integers(0, 7),
            st.integers(0, 40),
            st.one_of(st.binary(min_size=1, max_size=40), st.integers(1, 70_000).map(bytes)),
        ),
        max_size=40,
    )
)
def test_nothing_that_a_hostile_broker_sends_is_kept_or_grows_the_memory(messages: list) -> None:
    made = session(messages={})
    for kind, piece, at, payload in messages:
        made.perform(made.fetch.received(Topic(FLEET, kind, None, INDEX.blob, piece, at), payload, 1.0))
    held = sum(len(b) for piece in made.fetch._flight.values() for b in piece.blocks.values())
    assert held + sum(map(len, made.fetch._early.values())) <= protocol.WINDOW * (32 * PIECE + layout.LEAF_LIMIT)
    assert made.kept == {}
    made.link.publish(MESSAGES)
    made.run(2 * DAY, idle=5.0)
    finished(made)


# --- withdrawal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [list(MESSAGES), list(reversed(MESSAGES))])
def test_a_blob_that_is_cleared_under_the_fetch_ends_it_at_once(order: list[str]) -> None:
    made = session(rate=4000.0)
    made.run(6)
    made.link.publish(dict.fromkeys(order, b""))
    made.run(60)
    assert made.told == ["Withdrawn"]
    assert made.link.filters == []
    assert made.kept


# --- another way ---------------------------------------------------------------------------------------------------


def leaves() -> dict[int, bytes]:
    return {0: MESSAGES[leaf_topic()]}


def piece(number: int) -> bytes:
    return DATA[number * PIECE : (number + 1) * PIECE]


def test_pieces_from_elsewhere_complete_a_starved_blob() -> None:
    made = session(messages={})
    made.run(100)
    made.perform(made.fetch.take_index(INDEX.encode(), leaves(), made.now))
    for number in reversed(made.fetch.missing()):
        made.perform(made.fetch.take_piece(number, piece(number), made.now))
    finished(made)
    assert made.told == ["Starved", "Flowing"]


@given(number=st.integers(0, 5), data=st.one_of(st.binary(max_size=50), st.integers(0, PIECE).map(bytes)))
def test_wrong_pieces_from_elsewhere_are_refused(number: int, data: bytes) -> None:
    made = session(messages={})
    made.perform(made.fetch.take_index(INDEX.encode(), leaves(), 0.0))
    made.perform(made.fetch.take_piece(number, data, 1.0))
    assert made.told == ["Refused"]
    assert made.kept == {}


def test_an_index_from_elsewhere_without_all_its_leaves_is_refused() -> None:
    made = session(messages={})
    with pytest.raises(BlobCorruptError):
        made.fetch.take_index(INDEX.encode(), {}, 0.0)


@given(index=st.one_of(st.binary(max_size=100), st.just(INDEX.encode())), leaf=st.binary(max_size=100))
def test_a_wrong_index_from_elsewhere_is_a_named_error(index: bytes, leaf: bytes) -> None:
    with pytest.raises(EdgesyncError):
        session(messages={}).fetch.take_index(index, {0: leaf}, 0.0)


def test_a_blob_of_two_leaves_fetches_each_leaf_once() -> None:
    data = random.Random(1).randbytes(PIECE) * (layout.PIECES_PER_LEAF + 2)
    index, messages = blob_of(data, PIECE)
    made = session(index, messages, rate=1e7)
    made.run(3600)
    finished(made, data)
    assert made.fetch.metadata == sum(len(p) for t, p in messages.items() if "/index" in t)
