"""The spans of a board's update: one trace, whole over crashes and reboots, told before a reboot and at the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent.tracing import SPANS_LIMIT, Progress, View, follow
from edgesync.wire import trace
from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Phase
from edgesync.wire.trace import Span

DEVICE = DeviceId("acme.b1")


class Life:
    """A board that goes from phase to phase; its progress is written down and read back between any two of them."""

    def __init__(self) -> None:
        self.view, self.progress, self.now = View("", "idle", over=True), Progress(), 1000.0
        self.told: list[Span] = []

    def go(self, phase: Phase, seconds: float = 1.0, rollout: str = "r1", error: str = "") -> list[Span]:
        self.now += seconds
        over = phase in (Phase.IDLE, Phase.FAILED)
        view = View(rollout, phase.value, over, phase is Phase.ACTIVATING, error, {"edgesync.slot": "a"})
        progress, spans = follow(self.progress, trace.UPDATE, DEVICE, (self.view, view), self.now)
        self.progress = Progress.from_dict(json.loads(json.dumps(progress.to_dict())))
        assert self.progress == progress
        self.view = view
        self.told += spans
        return list(spans)


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


def test_an_update_is_one_trace_over_the_reboot_with_a_span_for_each_phase() -> None:
    life = Life()
    assert life.go(Phase.FETCHING) == []
    assert life.go(Phase.APPLYING, 60) == []
    before = life.go(Phase.ACTIVATING, 5)
    assert names(before) == ["fetching", "applying"], "told before the reboot"
    life.go(Phase.CONFIRMING, 20)
    after = life.go(Phase.IDLE, 3)
    assert names(after) == ["activating", "confirming", "update"]
    spans = {span.name: span for span in life.told}
    own = trace.board_trace("r1", DEVICE)
    assert {span.trace for span in life.told} == {own}
    assert spans["update"].parent == trace.span_id(own, trace.BOARD)
    assert {span.parent for span in life.told if span.name != "update"} == {spans["update"].span}
    whole = trace.rollout_trace("r1")
    assert spans["update"].links == (trace.Link(whole, trace.span_id(whole, trace.ROLLOUT)),)
    assert [spans[name].end - spans[name].start for name in ("fetching", "applying", "activating", "confirming")] == [
        60,
        5,
        20,
        3,
    ]
    assert spans["update"].end - spans["update"].start == 88
    assert not any(span.error for span in life.told)
    assert len({span.span for span in life.told}) == 5


def test_what_a_board_failed_of_stands_on_the_phase_and_on_the_update() -> None:
    life = Life()
    life.go(Phase.FETCHING)
    spans = life.go(Phase.FAILED, error="BlobMissing")
    assert [(span.name, span.error) for span in spans] == [("fetching", "BlobMissing"), ("update", "BlobMissing")]


def test_a_second_try_in_the_same_rollout_has_spans_of_its_own() -> None:
    life = Life()
    life.go(Phase.FETCHING)
    life.go(Phase.FAILED, error="BlobMissing")
    life.go(Phase.FETCHING)
    life.go(Phase.IDLE)
    assert names(life.told) == ["fetching", "update"] * 2
    assert len({span.span for span in life.told}) == 4
    assert [span.parent for span in life.told if span.name == "fetching"] == [
        span.span for span in life.told if span.name == "update"
    ]


def test_a_newer_rollout_ends_the_trace_of_the_one_before() -> None:
    life = Life()
    life.go(Phase.FETCHING)
    ended = life.go(Phase.FETCHING, rollout="r2")
    assert [(span.name, span.error) for span in ended] == [("fetching", "superseded"), ("update", "superseded")]
    assert {span.trace for span in ended} == {trace.board_trace("r1", DEVICE)}
    life.go(Phase.IDLE, rollout="r2")
    assert {span.trace for span in life.told[2:]} == {trace.board_trace("r2", DEVICE)}


def test_a_board_that_has_what_is_wanted_tells_nothing() -> None:
    life = Life()
    life.go(Phase.IDLE)
    life.go(Phase.IDLE, rollout="r2")
    assert life.told == []
    assert life.progress == Progress()


PHASES = st.sampled_from(list(Phase))


@given(st.lists(st.tuples(PHASES, st.floats(0, 100), st.sampled_from(["r1", "r2"])), max_size=60))
def test_spans_never_end_before_they_start_never_share_an_id_and_never_pile_up(
    steps: list[tuple[Phase, float, str]],
) -> None:
    life = Life()
    for phase, seconds, rollout in steps:
        life.go(phase, seconds, rollout)
        assert len(life.progress.done) <= SPANS_LIMIT
    assert all(span.start <= span.end for span in life.told)
    per_life = [span.span for span in life.told if span.name == "update"]
    assert len(per_life) >= len(set(per_life))
    if steps:
        last = life.go(Phase.IDLE, rollout=steps[-1][2])
        assert life.progress.phase == ""
        assert life.progress.done == ()
        assert not last or last[-1].name == "update"


@pytest.mark.parametrize("spoil", [{"done": [["x"]]}, {"done": 1}, {"began": "x"}, {"counts": {"a": -1}}])
def test_a_journal_with_something_else_in_it_is_malformed(spoil: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessageError):
        Progress.from_dict({**Progress().to_dict(), **spoil})
