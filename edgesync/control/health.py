"""Argo CD's two words for a board, a group and a fleet: does it hold what git says, and is it well. Pure.

The rules:
1. A board is Synced when it is confirmed and nobody changed its config by hand; else it is OutOfSync.
2. Degraded: it failed or was lost, or it is parked with an error and somebody has to do something.
   Unknown: nothing is heard of it. Progressing: it has an offer, or one is being made. Healthy: the rest, a board that
   waits for its wave too: it runs what it ran.
3. Of several boards: OutOfSync if one is; as they are in the order Degraded, Progressing, Unknown, Healthy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from edgesync.control.evidence import DAY, PENDING_AFTER, absence
from edgesync.control.fleet import FleetView
from edgesync.control.standing import BAD, Standing, Status

Sync = Literal["Synced", "OutOfSync"]
Health = Literal["Degraded", "Progressing", "Unknown", "Healthy"]

_ORDER: tuple[Health, ...] = ("Degraded", "Progressing", "Unknown", "Healthy")
_PROGRESSING = frozenset({Status.BUILDING, Status.OFFERED, Status.ACTING, Status.ACTIVATED})


def sync(board: Standing) -> Sync:
    config = board.reported.config if board.reported else None
    drifted = board.wanted.config is not None and config is not None and config.drift > 0
    return "Synced" if board.status is Status.CONFIRMED and not drifted else "OutOfSync"


def health(board: Standing, view: FleetView, now: float) -> Health:
    """`now` in unix seconds."""
    if board.status in BAD or board.parked:
        return "Degraded"
    if board.status is Status.PENDING or board.reported is None or _away(board, view, now):
        return "Unknown"
    return "Progressing" if board.status in _PROGRESSING else "Healthy"


def of_all(words: Iterable[tuple[Sync, Health]]) -> tuple[Sync, Health]:
    """Rule 3. No boards at all are Synced and Healthy."""
    found = list(words)
    worst = min((_ORDER.index(health) for _, health in found), default=len(_ORDER) - 1)
    return "OutOfSync" if any(sync == "OutOfSync" for sync, _ in found) else "Synced", _ORDER[worst]


def _away(board: Standing, view: FleetView, now: float) -> bool:
    """Its connection is gone; or, where it only connects at times, it missed the time by which it would have told."""
    presence, every = view.presence.get(board.device), absence(board)
    if presence is None or presence.up:
        return False
    return now - max(presence.since, board.seen) > PENDING_AFTER + (max(every, DAY) if every else 0)
