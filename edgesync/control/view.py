"""The server's state as JSON for the local API. docs/operations.md describes it; names are only ever added. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from edgesync.control.ahead import Share, census
from edgesync.control.fleet import FleetView
from edgesync.control.health import health as health_of
from edgesync.control.health import of_all
from edgesync.control.health import sync as sync_of
from edgesync.control.planner import BlobKey, Built, weigh
from edgesync.control.rollout import withheld
from edgesync.control.standing import REACHED, Standing, State, Status
from edgesync.control.types import Image
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import ErrorReport, Phase, Source


def overview(
    state: State, view: FleetView, making: Mapping[BlobKey, tuple[str, int, int]], health: Mapping[str, Any], now: float
) -> dict[str, Any]:
    """The whole fleet. `health` is what the service knows of itself: broker, problems, publisher."""
    boards = [brief(state, board, view, now) for _, board in sorted(state.boards.items())]
    sync, well = of_all((board["sync"], board["health"]) for board in boards)
    return {
        "format": 1,
        "time": now,
        **health,
        "sync": sync,
        "health": well,
        "rollout": _rollout(state),
        "groups": _groups(state, {board["device"]: board for board in boards}),
        "builds": [
            {"what": str(key), "phase": phase, "done": done, "total": total}
            for key, (phase, done, total) in sorted(making.items())
        ],
        "ahead": [_share(share) for share in census(state)],
        "quarantine": sorted(state.quarantine),
        "refused": [{"device": device, **asdict(refusal)} for device, refusal in sorted(view.refused.items())],
        "boards": boards,
    }


def brief(state: State, board: Standing, view: FleetView, now: float) -> dict[str, Any]:
    """One board, one line. `rate` in bytes a second and `left` in seconds are null while unknown."""
    report = board.reported
    presence = view.presence.get(board.device)
    error = board.error or (report.error if report else None) or (report and report.config and report.config.error)
    done, total = _fetched(board)
    rate, left = _pace(board.device, view, total - done if report and report.phase is Phase.FETCHING else 0)
    waits = state.spec is not None and board.status is Status.WAITING and not board.error
    return {
        "device": board.device,
        "status": board.status.value,
        "sync": sync_of(board),
        "health": health_of(board, view, now),
        "since": board.since,
        "part": board.part,
        "phase": report.phase.value if report else None,
        "release": board.wanted.release,
        "wave": board.wanted.wave,
        "waits": withheld(state, board, now) if waits else "",
        "up": presence.up if presence else None,
        "seen": board.seen or None,
        "done": done,
        "total": total,
        "rate": rate,
        "left": left,
        "config": _config(board),
        "error": error.to_dict() if error else None,
    }


def detail(
    state: State,
    board: Standing,
    view: FleetView,
    now: float,
    *,
    rollouts: list[dict[str, Any]],
    source: Source | None = None,
) -> dict[str, Any]:
    """Everything about one board: the brief line, the ways to what it wants, its last report, its desired state, the
    rollouts it took part in. `source`: how the config of its desired state gets to it.
    """
    budget, used = board.wanted.manners.budget, board.reported.month if board.reported else 0
    return {
        **brief(state, board, view, now),
        "ways": [way for image in board.wanted.images.values() for way in _ways(state, board, image)],
        "wanted": board.wants,
        "config_source": source.to_dict() if source else None,
        "requires": board.wanted.config.requires if board.wanted.config else "",
        "manners": board.wanted.manners.to_dict(),
        "month": used,
        "budget_left": max(budget - used, 0) if budget else None,
        "reported": board.reported.to_dict() if board.reported else None,
        "desired": board.offered.desired.to_dict() if board.offered else None,
        "quarantine": sorted(board.quarantine),
        "rollouts": rollouts,
    }


def _config(board: Standing) -> dict[str, Any] | None:
    """The wanted config and where it stands, null where git has none for the board."""
    if board.wanted.config is None:
        return None
    report = board.reported.config if board.reported else None
    return {
        "wanted": board.wanted.config.sha256,
        "held": board.holds_config or None,
        "phase": report.phase.value if report else None,
        "drift": report.drift if report else 0,
    }


def _groups(state: State, boards: Mapping[DeviceId, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The fleet's groups, as their boards are."""
    if state.spec is None:
        return []
    fleet = state.spec.fleet
    groups = []
    for group in fleet.groups:
        names = [name for name, board in fleet.boards.items() if name in boards and group.select.matches(board.labels)]
        sync, health = of_all((boards[name]["sync"], boards[name]["health"]) for name in names)
        counts = _counts([state.boards[name] for name in names])
        groups.append({"name": group.name, "boards": len(names), "sync": sync, "health": health, "counts": counts})
    return groups


def blobs(state: State) -> list[dict[str, Any]]:
    """Every blob that is made: what it makes, from what, and its bytes."""
    return [
        {"result": key.result, **_packing(key), "bytes": made.length}
        for key, made in sorted(state.blobs.items())
        if isinstance(made, Built)
    ]


def _share(share: Share) -> dict[str, Any]:
    """One way that boards still have to go, and how many. `bytes` is null until its blob is made."""
    take, way = share.choice.take, share.choice.best
    return {
        "what": str(way.key),
        "boards": share.boards,
        "bytes": way.length,
        "error": take.to_dict() if isinstance(take, ErrorReport) else None,
    }


def _ways(state: State, board: Standing, image: Image) -> Iterator[dict[str, Any]]:
    """Every way to one image of a board, from what it held when it was offered or else from what it holds."""
    offered = board.offered
    held = offered.base if offered and offered.digests == board.wants else board.holds
    base = held.get(image.component)
    if state.spec is None or base == image.sha256:
        return
    for way in weigh(image, base, state.stock, state.means_of(board), board.delta_failed).ways:
        yield {
            "component": image.component,
            **_packing(way.key),
            "bytes": way.length,
            "seconds": round(way.seconds, 1),
            "chosen": not way.against,
            "against": way.against,
        }


def _packing(key: BlobKey) -> dict[str, Any]:
    """How a blob holds what it makes."""
    kind, coder = ("delta" if key.base else "full"), ("mixing" if key.mixed else "lzma")
    return {"kind": kind, "coder": coder, "base": key.base or None}


def _rollout(state: State) -> dict[str, Any]:
    parts = [board for board in state.boards.values() if board.part]
    waves = state.spec.fleet.waves if state.spec else ()
    return {
        "id": state.rollout,
        "revision": state.revision,
        "author": state.author,
        "subject": state.subject,
        "started": state.started,
        "phase": state.phase,
        "reason": state.reason,
        "paused": state.paused,
        "reached": sum(board.status in REACHED for board in parts),
        "counts": _counts(parts),
        "waves": [
            {
                "name": wave.name,
                "open": number < state.open_waves,
                "success": wave.success,
                "counts": _counts([board for board in parts if board.wanted.wave == number]),
            }
            for number, wave in enumerate(waves)
        ],
    }


def _counts(boards: list[Standing]) -> dict[str, int]:
    counts = Counter(board.status for board in boards)
    return {status.value: counts[status] for status in Status if counts[status]}


def _fetched(board: Standing) -> tuple[int, int]:
    """Bytes of the blobs of the desired state in force: fetched, and in all."""
    report, offered = board.reported, board.offered
    if offered is None:
        return 0, 0
    total = sum(target.source.length for target in offered.desired.targets if target.source)
    if report is None or report.version != offered.desired.version:
        return 0, total
    if report.phase in (Phase.FETCHING, Phase.WAITING, Phase.FAILED):
        return min(report.done, total), total
    return total, total


def _pace(device: DeviceId, view: FleetView, missing: int) -> tuple[float | None, float | None]:
    progress = view.progress.get(device)
    if progress is None or not progress.rate or not missing:
        return None, None
    return round(progress.rate, 1), round(missing / progress.rate, 1)
