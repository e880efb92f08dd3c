"""What a board remembers of its config over any crash: a record that starts anew from the trees on the disk where it
cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from typing import Any

from edgesync.agent.record import Record
from edgesync.agent.tree.effects import Name
from edgesync.agent.tree.state import Pair, State, is_locked
from edgesync.wire import fields, versions
from edgesync.wire.errors import EdgesyncError, MalformedMessageError
from edgesync.wire.ids import Digest, parse_blob, parse_digest
from edgesync.wire.messages import ConfigPhase, ConfigTarget, ErrorReport

FORMAT = 1


class Journal:
    """The file `config.json` in the state directory. `damage` is the error of one that could not be read, or None."""

    def __init__(self, directory: str) -> None:
        self._record = Record(os.path.join(directory, "config.json"), FORMAT)
        self.state = State()
        self._record.load(self._take)

    @property
    def damage(self) -> EdgesyncError | None:
        return self._record.damage

    def save(self) -> None:
        """Raises DiskFullError or StorageError; the old journal then stays."""
        self._record.save({"state": state_to_dict(self.state)})

    def _take(self, value: Mapping[str, Any]) -> None:
        self.state = state_from_dict(fields.mapping(value, "state"))


def state_to_dict(state: State) -> dict[str, Any]:
    plain = {
        field.name: getattr(state, field.name)
        for field in dataclass_fields(State)
        if field.name not in ("phase", "target", "back", "pairs", "error")
    }
    return {
        **plain,
        "phase": state.phase.value,
        "target": state.target.to_dict() if state.target else {},
        "back": [] if state.back is None else [state.back],
        "pairs": [{"images": dict(pair.images), "config": pair.config} for pair in state.pairs],
        "error": state.error.to_dict() if state.error else {},
    }


def state_from_dict(value: Mapping[str, Any]) -> State:
    """Raises MalformedMessageError for anything that `state_to_dict` cannot have written."""
    phase = fields.text(value, "phase")
    if phase not in {p.value for p in ConfigPhase}:
        raise MalformedMessageError(f"field 'phase': found {phase!r}")
    target, error, back = (
        fields.mapping(value, "target"),
        fields.mapping(value, "error"),
        fields.array(value, "back", 1),
    )
    requires = {parse_digest(k): str(v) for k, v in fields.mapping(value, "requires").items()}
    for text in filter(None, requires.values()):
        versions.parse(text)
    state = State(
        phase=ConfigPhase(phase),
        target=ConfigTarget.from_dict(target) if target else None,
        version=fields.integer(value, "version"),
        hold=value.get("hold") is True,
        boot_id=fields.text(value, "boot_id"),
        images=_digests(value),
        confirmed=value.get("confirmed") is True,
        current=_name(value.get("current")),
        good=_name(value.get("good")),
        previous=_name(value.get("previous")),
        trial=_name(value.get("trial")),
        back=_name(back[0]) if back else None,
        boots=fields.integer(value, "boots"),
        starts=fields.integer(value, "starts", 0),  # not in the journals of 0.1
        kept=tuple(parse_digest(d) for d in fields.array(value, "kept")),
        pairs=tuple(_pair(p) for p in fields.array(value, "pairs")),
        requires=requires,
        versions={parse_digest(k): str(v) for k, v in fields.mapping(value, "versions").items()},
        quarantine=tuple(parse_digest(d) for d in fields.array(value, "quarantine")),
        retry=fields.integer(value, "retry"),
        attempts=fields.integer(value, "attempts"),
        waits=fields.integer(value, "waits"),
        error=ErrorReport.from_dict(error) if error else None,
        missing=tuple(parse_blob(b) for b in fields.array(value, "missing")),
        drift=fields.integer(value, "drift"),
        held=value.get("held") is True,
    )
    if is_locked(state) and state.back is None and not state.trial:
        raise MalformedMessageError("field 'trial': nothing is tried and nothing is gone back to")
    return state


def _name(value: object) -> Name:
    return "" if value == "" else parse_digest(value)


def _digests(value: Mapping[str, Any]) -> Mapping[str, Digest]:
    return {str(k): parse_digest(v) for k, v in fields.mapping(value, "images").items()}


def _pair(value: object) -> Pair:
    pair = fields.mapping({"pairs": value}, "pairs")
    return Pair(_digests(pair), parse_digest(pair.get("config")))
