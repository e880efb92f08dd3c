"""The status state machine and what its reporter does with what is allowed and what is not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.status import ECHO_LIMIT, Event, Reporter, Status

N, S, K, R, P, F, G, D = Status  # None, Starting, oK, Recoverable, Permanent, Fatal, stoppinG, stoppeD

ALLOWED = {
    (N, S),
    *((S, to) for to in (K, R, P, F, G)),
    *((K, to) for to in (K, R, P, F, G)),
    *((R, to) for to in (R, K, P, F, G)),
    (P, G),
    *((G, to) for to in (R, P, F, D)),
}
WAYS = {N: (), S: (S,), K: (S, K), R: (S, R), P: (S, P), F: (S, F), G: (S, G), D: (S, G, D)}
"""How each state is reached."""


class Watched:
    def __init__(self) -> None:
        self.told: list[Event] = []
        self.refused: list[tuple[Status, Status]] = []
        self.reporter = Reporter(self.told.append, lambda at, event: self.refused.append((at, event.status)))

    def report(self, *statuses: Status) -> None:
        for status in statuses:
            self.reporter.report(Event(status, 0.0))


@pytest.mark.parametrize(("at", "to"), list(itertools.product(Status, Status)), ids=lambda status: status.label)
def test_each_of_the_64_pairs_is_allowed_or_refused_as_in_the_collector(at: Status, to: Status) -> None:
    watched = Watched()
    watched.report(*WAYS[at])
    told = len(watched.told)
    watched.report(to)
    if (at, to) in ALLOWED:
        assert (watched.reporter.current, len(watched.told), watched.refused) == (to, told + 1, [])
    else:
        assert (watched.reporter.current, len(watched.told), watched.refused) == (at, told, [(at, to)])


def test_only_ok_and_recoverable_error_may_be_repeated() -> None:
    assert {at for at, to in ALLOWED if at is to} == {Status.OK, Status.RECOVERABLE_ERROR}


@given(st.lists(st.sampled_from(Status), max_size=30))
def test_what_is_told_is_a_way_through_the_machine_whatever_is_reported(reported: list[Status]) -> None:
    watched = Watched()
    watched.report(*reported)
    way = [Status.NONE, *(event.status for event in watched.told)]
    assert all(step in ALLOWED for step in itertools.pairwise(way))
    assert len(watched.told) + len(watched.refused) == len(reported)
    assert watched.reporter.current is way[-1]


def test_an_event_that_is_reported_while_another_is_delivered_comes_after_it_for_every_watcher() -> None:
    first: list[Status] = []
    second: list[Status] = []

    def deliver(event: Event) -> None:
        first.append(event.status)
        if event.status is Status.STARTING:
            reporter.report(Event(Status.OK, 0.0))
        second.append(event.status)

    reporter = Reporter(deliver, lambda _at, _event: None)
    reporter.report(Event(Status.STARTING, 0.0))
    assert first == second == [Status.STARTING, Status.OK]


def test_a_watcher_that_answers_itself_for_ever_is_stopped() -> None:
    refused: list[Status] = []

    def deliver(_event: Event) -> None:
        reporter.report(Event(Status.OK, 0.0))

    reporter = Reporter(deliver, lambda _at, event: refused.append(event.status))
    reporter.report(Event(Status.STARTING, 0.0))
    assert refused == [Status.OK]
    assert ECHO_LIMIT < 1000


def test_a_clean_start_is_ok_unless_the_component_said_something_itself() -> None:
    silent, ill = Watched(), Watched()
    silent.report(Status.STARTING)
    silent.reporter.ok_if_starting(1.0)
    ill.report(Status.STARTING, Status.RECOVERABLE_ERROR)
    ill.reporter.ok_if_starting(1.0)
    assert silent.reporter.current is Status.OK
    assert ill.reporter.current is Status.RECOVERABLE_ERROR


def test_statuses_read_as_in_the_collector() -> None:
    assert [status.label for status in Status] == [
        "StatusNone",
        "StatusStarting",
        "StatusOK",
        "StatusRecoverableError",
        "StatusPermanentError",
        "StatusFatalError",
        "StatusStopping",
        "StatusStopped",
    ]
