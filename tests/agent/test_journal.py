"""The journal on a real disk: cut off at each call, unreadable, of another version, and put aside."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.agent.journal import FORMAT, Journal, state_from_dict, state_to_dict
from edgesync.agent.machine import QUARANTINE_LIMIT, State
from edgesync.agent.record import FILE_LIMIT
from edgesync.wire import codec
from edgesync.wire.errors import DETAIL_LIMIT, DiskFullError, EdgesyncError, MalformedMessageError, StorageError
from edgesync.wire.ids import BlobId, DeviceId, Digest
from edgesync.wire.messages import COMPONENT_LIMIT, Desired, ErrorReport, Phase, Source, Target

DIGEST, BLOB = Digest("ab" * 32), BlobId("cd" * 16)
WIDE = "\U0001f680"  # four bytes each, the most that a character takes
TARGET = Target("rootfs", "2", 9, DIGEST, Source("delta", BLOB, 10, DIGEST))
STATE = State(
    phase=Phase.APPLYING,
    desired=Desired(DeviceId("acme.b1"), 7, "0" * 40, "r1", "v2", (TARGET,)),
    boot_id="boot",
    slot="a",
    confirmed=True,
    images={"rootfs": DIGEST},
    ready=("rootfs",),
    trial=(TARGET,),
    suspects=(DIGEST,),
    quarantine=(DIGEST,),
    retry=1,
    attempts=2,
    waits=3,
    error=ErrorReport("DiskFull", "x"),
    missing=(BLOB,),
    held=True,
)
SAVE_CALLS = ["open", "write", "fsync", "close", "replace"]


def saved(directory: Path, state: State = STATE, counter: int = 5, time: int = 1000) -> Journal:
    journal = Journal(str(directory))
    journal.state, journal.counter, journal.time = state, counter, time
    journal.save()
    return journal


def path(directory: Path) -> Path:
    return directory / "journal.json"


def test_a_board_that_never_lived_begins_at_nothing(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "new" / "state"))
    assert (journal.state, journal.counter, journal.time, journal.damage) == (State(), 0, 0, None)
    assert os.listdir(tmp_path / "new" / "state") == []


def test_everything_that_was_saved_is_there_in_the_next_life(tmp_path: Path) -> None:
    saved(tmp_path)
    journal = Journal(str(tmp_path))
    assert (journal.state, journal.counter, journal.time, journal.damage) == (STATE, 5, 1000, None)
    assert path(tmp_path).stat().st_mode & 0o077 == 0


def test_no_field_of_a_state_is_left_out_of_the_journal() -> None:
    for field in dataclass_fields(State):
        assert getattr(STATE, field.name) != getattr(State(), field.name), "this test covers every field"
    assert state_from_dict(json.loads(json.dumps(state_to_dict(STATE)))) == STATE


def test_the_largest_state_fits_into_the_file(tmp_path: Path) -> None:
    source = Source("delta", BLOB, (1 << 53) - 1, DIGEST, WIDE * 200)
    targets = tuple(
        Target(f"{number:02}" + WIDE * 30, WIDE * 64, (1 << 53) - 1, DIGEST, source)
        for number in range(COMPONENT_LIMIT)
    )
    names = [target.component for target in targets]
    device = DeviceId("a." + "b" * 62)
    state = State(
        phase=Phase.ACTIVATING,
        desired=Desired(device, (1 << 53) - 1, WIDE * 64, WIDE * 64, WIDE * 64, targets),
        boot_id=WIDE * 64,
        slot=WIDE * 16,
        images=dict.fromkeys(names, DIGEST),
        ready=tuple(names),
        trial=targets,
        suspects=(DIGEST,) * COMPONENT_LIMIT,
        quarantine=(DIGEST,) * QUARANTINE_LIMIT,
        error=ErrorReport("x" * 64, WIDE * DETAIL_LIMIT),
        missing=(BLOB,) * COMPONENT_LIMIT,
    )
    saved(tmp_path, state)
    assert path(tmp_path).stat().st_size < FILE_LIMIT
    assert Journal(str(tmp_path)).state == state


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("call", SAVE_CALLS)
def test_a_save_that_fails_anywhere_leaves_the_state_before_or_the_new_one(
    tmp_path: Path, call: str, nth: int, code: int
) -> None:
    journal = saved(tmp_path)
    journal.state, journal.counter = State(boot_id="next"), 6
    real, count = getattr(os, call), [0]

    def failing(*args: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == nth:
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    failed: EdgesyncError | None = None
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(os, call, failing)
        try:
            journal.save()
        except EdgesyncError as error:
            failed = error
    again = Journal(str(tmp_path))
    assert again.damage is None
    if failed is None:
        assert again.state == journal.state
    else:
        assert type(failed) is (DiskFullError if code == errno.ENOSPC else StorageError)
        assert (again.state, again.counter) in ((STATE, 5), (journal.state, 6))
        assert nth == 2 or again.state == STATE
    journal.save()
    assert Journal(str(tmp_path)).state == journal.state


UNREADABLE = [
    b"",
    b"\0" * 500,
    b"{",
    b"[]",
    b"{}",
    b'{"format":1}',
    b'{"format":2,"counter":1,"time":1,"state":{}}',
    b'{"format":"1","counter":1,"time":1,"state":{}}',
    b'{"format":1,"counter":-1,"time":1,"state":{}}',
    b'{"format":1,"counter":1,"time":1,"state":{"phase":"resting"}}',
    b"[" * 50_000,
    b"x" * (FILE_LIMIT + 1),
    b"\xff\xfe",
]


@pytest.mark.parametrize("content", UNREADABLE, ids=lambda content: repr(content[:30]))
def test_a_journal_that_cannot_be_read_is_put_aside_and_told(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path)
    path(tmp_path).write_bytes(content)
    journal = Journal(str(tmp_path))
    assert journal.state == State()
    assert isinstance(journal.damage, StorageError)
    assert "journal.json.unreadable" in str(journal.damage)
    assert (tmp_path / "journal.json.unreadable").read_bytes() == content
    journal.save()
    assert Journal(str(tmp_path)).damage is None
    assert (tmp_path / "journal.json.unreadable").read_bytes() == content, "it is still there to be looked at"


def test_a_directory_in_its_place_is_put_aside_too(tmp_path: Path) -> None:
    path(tmp_path).mkdir()
    journal = Journal(str(tmp_path))
    assert journal.damage
    journal.save()
    assert Journal(str(tmp_path)).damage is None


def test_a_state_directory_that_cannot_be_used_is_a_storage_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/state"):
        Journal(str(tmp_path / "file" / "state"))


@settings(max_examples=60)
@given(st.data())
def test_one_byte_of_rot_is_a_state_or_told_and_never_the_end_of_the_agent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("state")
    saved(directory)
    content = bytearray(path(directory).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path(directory).write_bytes(content)
    journal = Journal(str(directory))
    if journal.damage:
        assert journal.state == State()
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
    content = codec.canonical(state_to_dict(state))
    assert state_from_dict(codec.parse_object(content)) == state


def test_the_format_is_one_that_the_next_version_can_tell(tmp_path: Path) -> None:
    saved(tmp_path)
    assert json.loads(path(tmp_path).read_bytes())["format"] == FORMAT
