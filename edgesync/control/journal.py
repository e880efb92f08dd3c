"""History from the difference of two states: what an operator would want to read later. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgesync.control.standing import Standing, State, Status
from edgesync.control.state import Entry


def entries(before: State, after: State, now: float) -> Iterator[Entry]:
    """One entry for each change of a board's standing, and of the rollout. `now` in unix seconds."""

    def entry(event: str, detail: str, device: str = "") -> Entry:
        return Entry(now, device, after.rollout, after.revision, after.author, event, detail)

    if after.rollout != before.rollout:
        if before.phase in ("running", "failed"):
            yield entry("superseded", f"rollout {before.rollout} of revision {before.revision[:12]}")
        yield entry("rollout", after.subject)
    elif after.phase != before.phase:
        yield entry(after.phase, after.reason)
    if after.paused != before.paused:
        yield entry("paused" if after.paused else "resumed", "")
    if after.open_waves > (before.open_waves if after.rollout == before.rollout else 0) and after.spec:
        yield entry("wave", after.spec.fleet.waves[after.open_waves - 1].name)
    for device, board in after.boards.items():
        old = before.boards.get(device)
        if old is not board and (old is None or (old.status, old.error) != (board.status, board.error)):
            yield entry(board.status.value, _detail(board), device)
    for device in before.boards.keys() - after.boards.keys():
        yield entry("removed", "the fleet repository declares this board no more", device)


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
