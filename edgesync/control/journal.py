"""History from the difference of two states: what an operator would want to read later. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgesync.control.standing import Standing, State, Status
from edgesync.control.state import Entry
from edgesync.wire.ids import DeviceId


def entries(before: State, after: State, now: float, device: DeviceId | None = None) -> Iterator[Entry]:
    """One entry for each change of a board's standing, and of the rollout. `now` in unix seconds. `device`: the board
    that the event was about, or None; an event that left the rollout as it was touched no other.
    """

    def entry(event: str, detail: str, who: str = "") -> Entry:
        return Entry(now, who, after.rollout, after.revision, after.author, event, detail)

    if after.rollout != before.rollout:
        if before.phase in ("running", "failed"):
            yield entry("superseded", f"rollout {before.rollout} of revision {before.revision[:12]}")
        yield entry("rollout", after.subject)
    if after.paused != before.paused:
        yield entry("paused" if after.paused else "resumed", "")
    if after.open_waves > (before.open_waves if after.rollout == before.rollout else 0) and after.spec:
        yield entry("wave", after.spec.fleet.waves[after.open_waves - 1].name)
    alone = device in after.boards and (after.phase, after.open_waves) == (before.phase, before.open_waves)
    for name in [device] if device and alone else after.boards:
        board = after.boards[name]
        if _is_news(before.boards.get(name), board):
            yield entry(board.status.value, _detail(board), name)
    if not alone:
        for name in before.boards.keys() - after.boards.keys():
            yield entry("removed", "the fleet repository declares this board no more", name)
    if after.rollout == before.rollout and after.phase != before.phase:
        yield entry(after.phase, after.reason)


def _is_news(old: Standing | None, new: Standing) -> bool:
    if old is new or (new.status is Status.WAITING and new.error is None):
        return False
    return old is None or (old.status, old.error) != (new.status, new.error)


def _detail(board: Standing) -> str:
    if board.error:
        return f"{board.error.name}: {board.error.detail}".rstrip(": ")
    if board.status is Status.OFFERED and board.offered:
        desired = board.offered.desired
        return f"{desired.release}, version {desired.version}, {_bytes(board)} bytes to fetch"
    if board.status is Status.CONFIRMED and board.reported:
        return f"{board.wanted.release} in slot {board.reported.slot}, boot {board.reported.boot_id[:13]}"
    return board.wanted.release


def _bytes(board: Standing) -> int:
    assert board.offered is not None
    return sum(target.source.length for target in board.offered.desired.targets if target.source)
