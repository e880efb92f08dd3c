"""What boards say, checked: signature, form, and a counter that only grows. What is refused changes nothing but a note.

The broker is not believed: it can withhold a report, and an `up` is presence and never evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesync.control.state import Heard, Presence
from edgesync.control.types import Board
from edgesync.trust.report import verify_reported
from edgesync.wire.errors import EdgesyncError, ForgedMessageError, MalformedMessageError, StaleMessageError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Reported

VERSION_LIMIT = 1 << 40
"""A report that claims a higher version of its desired state is nonsense, and would leave no room to count above it."""
RATE_AFTER = 1.0
"""Seconds between two reports that tell a rate; those that come together after an outage tell none."""
NOTE_EVERY = 60.0
"""Seconds between two lines of history about the same board's same error: a flood of forgeries is one line a minute."""
REFUSED_LIMIT = 1000
"""Devices that refusals are counted for: where broker identity is off, names are the attacker's choice."""
UP_LIMIT = 16
"""Bytes of an `up`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Messages of one board that were refused: the last error, when (s), and how many in all."""

    name: str
    detail: str
    time: float
    count: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How a download gets on, from reports: at `time` (s) `done` bytes; `rate` in bytes a second, 0 while unknown."""

    version: int
    time: float
    done: int
    rate: float = 0.0


class FleetView:
    """The last word of each board: all three as saved. The caller saves what comes back."""

    def __init__(
        self,
        heard: Mapping[DeviceId, Heard],
        presence: Mapping[DeviceId, Presence],
        reports: Mapping[DeviceId, Reported],
    ) -> None:
        self.heard = dict(heard)
        self.reports = dict(reports)
        self.presence = dict(presence)
        self.refused: dict[DeviceId, Refusal] = {}
        self.progress: dict[DeviceId, Progress] = {}
        self._noted: dict[tuple[DeviceId, str], float] = {}

    def report(self, boards: Mapping[DeviceId, Board], device: DeviceId, payload: bytes) -> Reported | None:
        """The report, or None for the one that is known already (a retained message comes at each connect).

        `boards` are those of the fleet. Raises MessageTooLargeError, MalformedMessageError, ForgedMessageError (an
        unknown board's too), StaleMessageError.
        """
        board = boards.get(device)
        if board is None:
            raise ForgedMessageError(f"reported of {device}: the fleet repository declares no such board")
        reported = verify_reported(payload, device, board.key)
        if reported.version > VERSION_LIMIT:
            raise MalformedMessageError(f"reported of {device}: found version {reported.version}")
        heard = self.heard.get(device)
        # Another key is another life of the board: its counter begins anew.
        known = heard.counter if heard and heard.key == board.key else -1
        last = self.reports.get(device)
        if reported.counter == known and (last is None or reported == last):
            return None if last else reported
        if reported.counter <= known:
            raise StaleMessageError(f"reported of {device}: found counter {reported.counter}, expected above {known}")
        return reported

    def accept(self, board: Board, reported: Reported, now: float) -> Heard:
        """Keep an accepted report."""
        self.reports[board.device] = reported
        heard = self.heard[board.device] = Heard(board.key, reported.counter)
        before = self.progress.get(board.device)
        rate = 0.0
        if before and before.version == reported.version and reported.done >= before.done:
            took = now - before.time
            rate = (reported.done - before.done) / took if took >= RATE_AFTER else 0.0
        self.progress[board.device] = Progress(reported.version, now, reported.done, rate)
        return heard

    def up(self, boards: Mapping[DeviceId, Board], device: DeviceId, payload: bytes, now: float) -> Presence | None:
        """Presence, if it changed. Raises MalformedMessageError for anything but 0 and 1."""
        if device not in boards:
            return None
        if payload not in (b"0", b"1"):
            found = payload[:UP_LIMIT]
            raise MalformedMessageError(f"up of {device}: found {len(payload)} bytes {found!r}, expected 0 or 1")
        before = self.presence.get(device)
        if before and before.up == (payload == b"1"):
            return None
        presence = self.presence[device] = Presence(payload == b"1", now)
        return presence

    def refuse(self, device: DeviceId, error: EdgesyncError, now: float) -> bool:
        """Count a refused message; True if it is worth a line of history."""
        before = self.refused.get(device)
        if before is None and len(self.refused) >= REFUSED_LIMIT:
            return False
        self.refused[device] = Refusal(error.name, str(error), now, (before.count if before else 0) + 1)
        noted = self._noted.get((device, error.name))
        if noted is not None and now - noted < NOTE_EVERY:
            return False
        self._noted[device, error.name] = now
        return True
