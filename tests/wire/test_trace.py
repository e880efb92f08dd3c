"""Ids of traces and spans: the same for both sides, and for nobody else."""

from __future__ import annotations

import re
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from edgesync.wire import trace
from edgesync.wire.ids import DeviceId

WORDS = st.text(st.characters(categories=["Ll", "Nd"], include_characters=".-:"), max_size=8)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=6, unique=True))
def test_every_rollout_and_board_has_a_trace_of_its_own(pairs: list[tuple[str, str]]) -> None:
    traces = [trace.board_trace(rollout, DeviceId(device)) for rollout, device in pairs]
    traces += sorted({trace.rollout_trace(rollout) for rollout, _ in pairs})
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in traces)
    assert all(a != b for a, b in combinations(traces, 2))


@given(WORDS, WORDS, st.integers(0, 9))
def test_a_span_that_is_told_twice_has_one_id(rollout: str, name: str, number: int) -> None:
    own = trace.rollout_trace(rollout)
    assert re.fullmatch("[0-9a-f]{16}", trace.span_id(own, name, number))
    assert trace.span_id(own, name, number) == trace.span_id(own, name, number)
    assert trace.span_id(own, name, number) != trace.span_id(own, name, number + 1)
