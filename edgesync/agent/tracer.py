"""Follows what the deciders do, keeps what is open over a reboot, and tells what is finished to whoever listens.

The file is replaced but not synced: after a power cut a span may begin a little early, which no truth depends on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from edgesync.agent.machine import State
from edgesync.agent.tracing import Progress, View, follow
from edgesync.agent.tree.state import State as ConfigState
from edgesync.host.files import read_limited
from edgesync.host.telemetry import TelemetryPort
from edgesync.host.telemetry import now as wall
from edgesync.wire import codec, fields, trace
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import ConfigPhase, ErrorReport, Phase

FILE_LIMIT = 64 * 1024
CONFIG = "config"
"""The name of the span of a change of config, as `trace.UPDATE` is that of firmware."""


class Tracer:
    """One board's, kept in `trace.json` in the state directory."""

    def __init__(self, state: str, device: DeviceId, port: TelemetryPort) -> None:
        self._path, self._device, self._port = os.path.join(state, "trace.json"), device, port
        self._rollout = ""
        self._progress = {trace.UPDATE: Progress(), CONFIG: Progress()}
        with contextlib.suppress(EdgesyncError):
            self._load()

    def firmware(self, before: State, after: State) -> None:
        """After a decision about firmware."""
        self._rollout = after.desired.rollout if after.desired else ""
        self._follow(trace.UPDATE, _firmware(before), _firmware(after))

    def config(self, before: ConfigState, after: ConfigState) -> None:
        """After a decision about config. Its rollout is that of the desired state in force."""
        self._follow(CONFIG, _config(before, self._rollout), _config(after, self._rollout))

    def _follow(self, kind: str, before: View, after: View) -> None:
        known = self._progress[kind]
        progress, spans = follow(known, kind, self._device, (before, after), wall())
        if progress != known:
            self._progress[kind] = progress
            self._save()
        self._port.tell(*spans)

    def _save(self) -> None:
        value = {kind: progress.to_dict() for kind, progress in self._progress.items()}
        with contextlib.suppress(OSError):  # a full disk shall not stop an update over its trace
            with open(f"{self._path}.tmp", "wb") as file:
                file.write(codec.canonical(value))
            os.replace(f"{self._path}.tmp", self._path)

    def _load(self) -> None:
        value = codec.parse_object(read_limited(self._path, FILE_LIMIT))
        self._progress = {kind: Progress.from_dict(fields.mapping(value, kind)) for kind in self._progress}


def _firmware(state: State) -> View:
    desired = state.desired
    attributes = {"edgesync.slot": state.slot, "edgesync.boot_id": state.boot_id}
    if desired:
        attributes |= {"edgesync.release": desired.release, "edgesync.revision": desired.revision}
    over = state.phase in (Phase.IDLE, Phase.FAILED)
    waits = state.phase in (Phase.WAITING, Phase.FAILED)
    rollout = desired.rollout if desired else ""
    return View(
        rollout, state.phase.value, over, state.phase is Phase.ACTIVATING, _name(state.error, waits), attributes
    )


def _config(state: ConfigState, rollout: str) -> View:
    over = state.phase in (ConfigPhase.IDLE, ConfigPhase.FAILED)
    waits = state.phase in (ConfigPhase.WAITING, ConfigPhase.FAILED)
    attributes: Mapping[str, str] = {"edgesync.config": state.target.sha256 if state.target else state.current}
    return View(rollout, state.phase.value, over, error=_name(state.error, waits), attributes=attributes)


def _name(error: ErrorReport | None, stands: bool) -> str:
    return error.name if error and stands else ""
