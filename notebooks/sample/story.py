"""What happens to the model fleet in its day, and to whom. Each notebook has one trouble here that it must name.

Hours are those since the day began.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesync.wire.ids import DeviceId, device_id

FLEET = "acme"
BOARDS = tuple(device_id(FLEET, f"gate-{number:02}") for number in range(1, 21))
HOUR = 3600.0
DAY = 24 * HOUR
STEP = 300.0
"""Seconds from one reading to the next."""
OLD, NEW, TRIED = "2.3.0", "2.3.1", "2.4.0"
BLOB = 1_800_000
"""Bytes of the delta from one release to the next."""


def board(number: int) -> DeviceId:
    return BOARDS[number - 1]


SILENT, SILENT_SINCE = board(7), 21.2
"""Fleet health: tells nothing any more."""
BROKEN = board(15)
"""A rollout: does not boot the new release, and comes back with the old one."""
REFETCHING, REFETCHING_SINCE, REFETCHED = board(11), 5.0, 40_000
"""Links and airtime: fetches again what it lost, so many bytes each step."""
LEAK = 11e6 / HOUR
"""Memory: bytes a second that the tried release loses, on the canaries alone."""
CONGESTED, CONGESTED_SINCE, CUT, BACK = board(9), 13.0, 13.35, 14.2
"""The incident: segments are lost first, then answers take long, then the connection breaks until `BACK`."""


@dataclass(frozen=True, slots=True)
class Wave:
    name: str
    boards: tuple[DeviceId, ...]
    opened: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """`over`: whether the server has closed it; the one with the tried release waits for its canaries to soak."""

    name: str
    release: str
    revision: str
    subject: str
    began: float
    waves: tuple[Wave, ...]
    over: bool = True


CANARIES = BOARDS[:3]
ROLLOUTS = (
    Rollout(
        "r-000041",
        NEW,
        "5f0c2ad19be3",
        "Fix the modem's watchdog",
        2.0,
        (Wave("canary", CANARIES, 2.05), Wave("early", BOARDS[3:9], 2.6), Wave("everyone", BOARDS[9:], 3.25)),
    ),
    Rollout(
        "r-000042",
        TRIED,
        "9b71e4fd0c55",
        "Cache the map tiles in memory",
        8.0,
        (Wave("canary", CANARIES, 8.05),),
        over=False,
    ),
    Rollout(
        "r-000043",
        NEW,
        "c2d80f6635aa",
        "Bring gate-09 back to the fleet's release",
        12.9,
        (Wave("everyone", (CONGESTED,), 12.95),),
    ),
)
