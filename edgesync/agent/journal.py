"""What a board remembers of its firmware over any crash: a record that starts anew from the evidence in the slots where
it cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from typing import Any

from edgesync.agent.machine import State
from edgesync.agent.record import Record
from edgesync.wire import fields
from edgesync.wire.errors import EdgesyncError, MalformedMessageError
from edgesync.wire.ids import parse_blob, parse_digest
from edgesync.wire.messages import Desired, ErrorReport, Phase, Target

FORMAT = 1


class Journal:
    """The file `journal.json` in the state directory.

    `counter` numbers the reports; `time` is the newest trusted moment (seconds since 1970). `damage` is the error of a
    journal that could not be read, or None.
    """

    def __init__(self, directory: str) -> None:
        self._record = Record(os.path.join(directory, "journal.json"), FORMAT)
        self.state = State()
        self.counter = 0
        self.time = 0
        self._record.load(self._take)

    @property
    def damage(self) -> EdgesyncError | None:
        return self._record.damage

    def save(self) -> None:
        """Raises DiskFullError or StorageError; the old journal then stays."""
        self._record.save({"counter": self.counter, "time": self.time, "state": state_to_dict(self.state)})

    def _take(self, value: Mapping[str, Any]) -> None:
        counter, time = fields.integer(value, "counter"), fields.integer(value, "time")
        self.state = state_from_dict(fields.mapping(value, "state"))
        self.counter, self.time = counter, time


def state_to_dict(state: State) -> dict[str, Any]:
    plain = {
        field.name: getattr(state, field.name)
        for field in dataclass_fields(State)
        if field.name not in ("phase", "desired", "trial", "error", "images")
    }
    return {
        **plain,
        "phase": state.phase.value,
        "images": dict(state.images),
        "trial": [target.to_dict() for target in state.trial],
        "desired": state.desired.to_dict() if state.desired else {},
        "error": state.error.to_dict() if state.error else {},
    }


def state_from_dict(value: Mapping[str, Any]) -> State:
    """Raises MalformedMessageError for anything that `state_to_dict` cannot have written."""
    phase = fields.text(value, "phase")
    if phase not in {p.value for p in Phase}:
        raise MalformedMessageError(f"field 'phase': found {phase!r}")
    desired, error = fields.mapping(value, "desired"), fields.mapping(value, "error")
    return State(
        phase=Phase(phase),
        desired=Desired.from_dict(desired) if desired else None,
        boot_id=fields.text(value, "boot_id"),
        slot=fields.text(value, "slot"),
        confirmed=value.get("confirmed") is True,
        images={str(k): parse_digest(v) for k, v in fields.mapping(value, "images").items()},
        ready=tuple(str(c) for c in fields.array(value, "ready")),
        trial=tuple(Target.from_dict(fields.mapping({"trial": t}, "trial")) for t in fields.array(value, "trial")),
        suspects=tuple(parse_digest(d) for d in fields.array(value, "suspects")),
        quarantine=tuple(parse_digest(d) for d in fields.array(value, "quarantine")),
        retry=fields.integer(value, "retry"),
        attempts=fields.integer(value, "attempts"),
        waits=fields.integer(value, "waits", 0),
        error=ErrorReport.from_dict(error) if error else None,
        missing=tuple(parse_blob(b) for b in fields.array(value, "missing")),
        held=value.get("held") is True,
    )
