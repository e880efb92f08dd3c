"""What happens to the model fleet in its day, and to whom. Each notebook has one trouble here that it must name.

Hours are those since the day began. `planted` tells other stories: a larger fleet, other boards, no trouble at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesync.wire.ids import DeviceId, device_id

FLEET = "acme"
HOUR = 3600.0
DAY = 24 * HOUR
OLD, NEW, TRIED = "2.3.0", "2.3.1", "2.4.0"
BLOB = 1_800_000
"""Bytes of the delta from one release to the next."""
SILENT_SINCE = 21.2
SPENDING_SINCE, SPENT = 5.0, 480_000
"""From when, and bytes an hour."""
LEAK = 11e6 / HOUR
"""Bytes a second."""
HELD_SINCE, CUT, BACK = 13.0, 13.35, 14.2
"""The cause begins, the update stands still, everything goes on."""
CANARIES = 3


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


@dataclass(frozen=True, slots=True)
class Story:
    """`step` is the seconds from one reading to the next. The others are who has which trouble, None for nobody:

    `silent` tells nothing any more (fleet health); `broken` does not boot the new release and comes back with the old
    one (a rollout); `spending` uses up its budget for one purpose (links and airtime); `leaking` is the release that
    loses memory (memory); the update of `held` stands still since its link breaks or its memory is short (incident).
    """

    boards: tuple[DeviceId, ...]
    rollouts: tuple[Rollout, ...]
    step: float
    silent: DeviceId | None
    broken: DeviceId | None
    spending: tuple[DeviceId, str] | None
    leaking: str | None
    held: DeviceId
    cause: Literal["link", "memory"] | None

    def holds(self, device: DeviceId, cause: Literal["link", "memory"]) -> bool:
        return device == self.held and cause == self.cause


def planted(
    count: int = 20,
    *,
    step: float = 300.0,
    silent: int = 7,
    broken: int = 15,
    spending: tuple[int, str] = (11, "refetched"),
    leaking: str | None = TRIED,
    held: int = 9,
    cause: Literal["link", "memory"] | None = "link",
) -> Story:
    """A day of `count` boards (at least 10). Boards are numbered from 1; 0 is nobody."""
    boards = tuple(device_id(FLEET, f"gate-{number:02}") for number in range(1, count + 1))

    def board(number: int) -> DeviceId | None:
        return boards[number - 1] if number else None

    spender = board(spending[0])
    return Story(
        boards,
        _rollouts(boards, boards[held - 1]),
        step,
        silent=board(silent),
        broken=board(broken),
        spending=(spender, spending[1]) if spender else None,
        leaking=leaking,
        held=boards[held - 1],
        cause=cause,
    )


def _rollouts(boards: tuple[DeviceId, ...], back: DeviceId) -> tuple[Rollout, ...]:
    canaries, early, everyone = boards[:CANARIES], boards[CANARIES:9], boards[9:]
    return (
        Rollout(
            "r-000041",
            NEW,
            "5f0c2ad19be3",
            "Fix the modem's watchdog",
            2.0,
            (Wave("canary", canaries, 2.05), Wave("early", early, 2.6), Wave("everyone", everyone, 3.25)),
        ),
        Rollout(
            "r-000042",
            TRIED,
            "9b71e4fd0c55",
            "Cache the map tiles in memory",
            8.0,
            (Wave("canary", canaries, 8.05),),
            over=False,
        ),
        Rollout(
            "r-000043",
            NEW,
            "c2d80f6635aa",
            f"Bring {back.partition('.')[2]} back to the fleet's release",
            12.9,
            (Wave("everyone", (back,), 12.95),),
        ),
    )
