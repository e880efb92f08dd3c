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
        old, board = before.boards.get(name), after.boards[name]
        if old is board:
            continue
        if _is_news(old, board):
            yield entry(board.status.value, _detail(board), name)
        if _drift(old) != _drift(board):
            left = f"{_drift(board)} files of its config are not as git has them"
            yield entry("drift", left if _drift(board) else "its config is as git has it again", name)
    if not alone:
        for name in before.boards.keys() - after.boards.keys():
            yield entry("removed", "the fleet repository declares this board no more", name)
    if after.rollout == before.rollout and after.phase != before.phase:
        yield entry(after.phase, after.reason)


def _is_news(old: Standing | None, new: Standing) -> bool:
    if new.status is Status.WAITING and new.error is None:
        return False
    return old is None or (old.status, old.error) != (new.status, new.error)


def _drift(board: Standing | None) -> int:
    return board.reported.config.drift if board and board.reported and board.reported.config else 0


def _detail(board: Standing) -> str:
    if board.error:
        return f"{board.error.name}: {board.error.detail}".rstrip(": ")
    config = f"config {board.wanted.config.sha256[:12]}" if board.wanted.config else ""
    if board.status is Status.OFFERED and board.offered:
        version = f"version {board.offered.desired.version}"
        fetch = f"{_bytes(board)} bytes of firmware to fetch" if board.offered.new_images else ""
        return ", ".join(filter(None, (board.wanted.release, config, version, fetch)))
    if board.status is Status.CONFIRMED and board.reported:
        runs = f"{board.wanted.release} in slot {board.reported.slot}, boot {board.reported.boot_id[:13]}"
        return ", ".join(filter(None, (runs if board.wanted.images else "", config)))
    return ", ".join(filter(None, (board.wanted.release, config)))


def _bytes(board: Standing) -> int:
    assert board.offered is not None
    return sum(target.source.length for target in board.offered.desired.targets if target.source)
