"""The journal of the config on a real disk: every field, any rot, and what cannot have been written."""

from __future__ import annotations

import json
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.agent.record import FILE_LIMIT
from edgesync.agent.tree.journal import Journal, state_from_dict, state_to_dict
from edgesync.agent.tree.machine import VERSIONS
from edgesync.agent.tree.state import PAIRS, QUARANTINE_LIMIT, Pair, State
from edgesync.wire import codec
from edgesync.wire.errors import DETAIL_LIMIT, MalformedMessageError
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import COMPONENT_LIMIT, ConfigPhase, ConfigTarget, ErrorReport, Source

DIGEST, BLOB = Digest("ab" * 32), BlobId("cd" * 16)
REQUIRES = "f" * 32 + " >= " + "v" * 64
WIDE = "\U0001f680"  # four bytes each, the most that a character takes
STATE = State(
    phase=ConfigPhase.PROBING,
    target=ConfigTarget(DIGEST, 9, "fw >= 2", Source("delta", BLOB, 10, DIGEST)),
    version=7,
    hold=True,
    boot_id="boot",
    images={"fw": DIGEST},
    confirmed=True,
    current=DIGEST,
    good=DIGEST,
    previous=DIGEST,
    trial=DIGEST,
    back=DIGEST,
    boots=1,
    starts=2,
    kept=(DIGEST,),
    pairs=(Pair({"fw": DIGEST}, DIGEST),),
    requires={DIGEST: "fw >= 2"},
    versions={DIGEST: "2"},
    quarantine=(DIGEST,),
    retry=1,
    attempts=2,
    waits=3,
    error=ErrorReport("DiskFull", "x"),
    missing=(BLOB,),
    drift=4,
    held=True,
)


def saved(directory: Path, state: State = STATE) -> Journal:
    journal = Journal(str(directory))
    journal.state = state
    journal.save()
    return journal


def test_no_field_of_a_state_is_left_out_of_the_journal(tmp_path: Path) -> None:
    for field in dataclass_fields(State):
        assert getattr(STATE, field.name) != getattr(State(), field.name), "this test covers every field"
    saved(tmp_path)
    assert Journal(str(tmp_path)).state == STATE
    assert (tmp_path / "config.json").stat().st_mode & 0o077 == 0


def test_a_journal_that_knows_of_no_starts_is_read() -> None:
    older = json.loads(json.dumps(state_to_dict(STATE)))
    del older["starts"]
    assert state_from_dict(older) == replace(STATE, starts=0)


@pytest.mark.parametrize("back", [None, "", DIGEST])
def test_going_back_to_nothing_is_not_the_same_as_not_going_back(tmp_path: Path, back: Digest | None) -> None:
    saved(tmp_path, State(phase=ConfigPhase.PROBING, trial=DIGEST, back=back))
    assert Journal(str(tmp_path)).state.back == back


def test_the_largest_state_fits_into_the_file(tmp_path: Path) -> None:
    digests = [Digest(f"{number:064x}") for number in range(VERSIONS)]
    images = {f"{number:02}" + WIDE * 30: DIGEST for number in range(COMPONENT_LIMIT)}
    state = State(
        phase=ConfigPhase.WAITING,
        target=ConfigTarget(
            DIGEST, 1 << 20, "f" * 32 + " >= " + "v" * 64, Source("delta", BLOB, 1, DIGEST, WIDE * 200)
        ),
        boot_id=WIDE * 64,
        images=images,
        kept=tuple(digests[:10]),
        pairs=(Pair(images, DIGEST),) * PAIRS,
        requires=dict.fromkeys(digests[:10], REQUIRES),
        versions=dict.fromkeys(digests, WIDE * 64),
        quarantine=(DIGEST,) * QUARANTINE_LIMIT,
        error=ErrorReport("x" * 64, WIDE * DETAIL_LIMIT),
        missing=(BLOB,),
    )
    saved(tmp_path, state)
    assert (tmp_path / "config.json").stat().st_size < FILE_LIMIT
    assert Journal(str(tmp_path)).state == state


@settings(max_examples=60)
@given(st.data())
def test_one_byte_of_rot_is_a_state_or_told_and_never_the_end_of_the_agent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("state")
    saved(directory)
    path = directory / "config.json"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    journal = Journal(str(directory))
    if journal.damage:
        assert journal.state == State()
        assert (directory / "config.json.unreadable").read_bytes() == bytes(content)
    journal.save()
    assert Journal(str(directory)).state == journal.state


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([field.name for field in dataclass_fields(State)]), JSON)
def test_any_value_in_any_field_is_a_state_that_can_be_saved_again_or_malformed(name: str, value: Any) -> None:
    plain = {**json.loads(json.dumps(state_to_dict(STATE))), name: value}
    try:
        state = state_from_dict(plain)
    except MalformedMessageError:
        return
    assert state_from_dict(codec.parse_object(codec.canonical(state_to_dict(state)))) == state


def test_a_trial_of_nothing_is_malformed() -> None:
    with pytest.raises(MalformedMessageError, match="nothing is tried"):
        state_from_dict(json.loads(json.dumps(state_to_dict(State(phase=ConfigPhase.PROBING)))))
