"""Every event in every state that a journal can hold: an answer, and one that the journal can hold again."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from model_board import COMPONENTS, image

from edgesync.agent import events, machine
from edgesync.agent.journal import state_from_dict, state_to_dict
from edgesync.agent.machine import State
from edgesync.wire.errors import (
    BlobWithdrawnError,
    DeltaCorruptError,
    DiskFullError,
    ProbeFailedError,
    StorageError,
    WorkerDiedError,
)
from edgesync.wire.ids import BlobId
from edgesync.wire.messages import ErrorReport, Phase, Source, Target

DIGESTS = st.sampled_from([image("good", n, c) for n in range(4) for c in COMPONENTS])
BLOBS = st.sampled_from([BlobId(f"{n:032x}") for n in range(4)])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SOURCES = st.one_of(
    st.none(),
    st.builds(Source, st.just("full"), BLOBS, st.integers(0, 1 << 40), st.none(), TEXT),
    st.builds(Source, st.just("delta"), BLOBS, st.integers(0, 1 << 40), DIGESTS, TEXT),
)
TARGETS = st.lists(
    st.builds(Target, st.sampled_from(COMPONENTS), TEXT, st.integers(0, 1 << 40), DIGESTS, SOURCES),
    max_size=2,
    unique_by=lambda target: target.component,
).map(tuple)
STATES = st.builds(
    State,
    phase=st.sampled_from(Phase),
    boot_id=TEXT,
    slot=st.sampled_from(["", "a", "b"]),
    confirmed=st.booleans(),
    images=st.dictionaries(st.sampled_from(COMPONENTS), DIGESTS),
    ready=st.lists(st.sampled_from(COMPONENTS), unique=True).map(tuple),
    trial=TARGETS,
    suspects=st.lists(DIGESTS, max_size=4).map(tuple),
    quarantine=st.lists(DIGESTS, max_size=16).map(tuple),
    retry=st.integers(0, 99),
    attempts=st.integers(0, 9999),
    waits=st.integers(0, 9999),
    error=st.one_of(st.none(), st.builds(ErrorReport, st.just("DiskFull"), TEXT)),
    missing=st.lists(BLOBS, max_size=2).map(tuple),
)
ERRORS = st.sampled_from(
    [DiskFullError("x"), StorageError("x"), WorkerDiedError("x"), DeltaCorruptError("x"), BlobWithdrawnError("x")]
)
EVENTS = st.one_of(
    st.builds(events.Fetched, BLOBS),
    st.builds(events.FetchFailed, BLOBS, ERRORS),
    st.builds(events.FetchStarved, BLOBS, ERRORS),
    st.builds(events.FetchFlows, BLOBS),
    st.builds(events.Applied, st.sampled_from(COMPONENTS), DIGESTS),
    st.builds(events.ApplyFailed, st.sampled_from(COMPONENTS), ERRORS),
    st.builds(events.ActivateFailed, ERRORS),
    st.builds(events.ProbeFailed, st.just(ProbeFailedError("x"))),
    st.builds(events.Noticed, ERRORS),
    st.sampled_from([events.ProbePassed(), events.Woken(), events.Cleared()]),
    st.builds(
        events.Booted,
        TEXT,
        st.sampled_from("ab"),
        st.booleans(),
        st.booleans(),
        st.dictionaries(st.sampled_from(COMPONENTS), DIGESTS),
    ),
)


@given(state=STATES)
def test_every_state_survives_the_journal(state: State) -> None:
    assert state_from_dict(json.loads(json.dumps(state_to_dict(state)))) == state


@given(state=STATES, event=EVENTS)
def test_every_event_in_every_state_has_an_answer_that_the_journal_can_hold(state: State, event: events.Event) -> None:
    after, _ = machine.step(state, event)
    assert state_from_dict(json.loads(json.dumps(state_to_dict(after)))) == after
