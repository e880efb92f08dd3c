"""Which blobs are made before a board waits for them, from the census of what boards report. Pure.

While a wave is closed, or the rollout paused, it is known already what its boards hold and what they shall run. The
ways that most boards have to go are prepared first, so that the first board of a wave does not wait for a build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgesync.control import evidence
from edgesync.control.means import Means
from edgesync.control.planner import BlobKey, Choice, weigh
from edgesync.control.standing import Standing, State, Status
from edgesync.control.types import Image
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ErrorReport

LIMIT = 8
"""Ways that are prepared at a time: a fleet with as many bases as boards must not keep the server busy for nothing."""


@dataclass(frozen=True, slots=True)
class Share:
    """One way that `boards` waiting boards have to go, and what the planner chooses for it."""

    boards: int
    choice: Choice


_Need = tuple[Image, Digest | None, Means, ErrorReport | None]
"""What `weigh` is asked: the image, what the board holds of its component, what it can carry, why its delta failed."""


def census(state: State) -> tuple[Share, ...]:
    """The ways that most waiting boards have to go, at most LIMIT of them, the most common first."""
    if state.spec is None or state.phase not in ("running", "done"):
        return ()
    needs = Counter(need for board in state.boards.values() for need in _needs(state, board))
    ranked = sorted(needs.items(), key=lambda item: (-item[1], item[0][0].sha256, item[0][1] or ""))
    stock, shares = state.stock, dict[BlobKey, Share]()
    for (image, base, means, failed), boards in ranked[: 2 * LIMIT]:
        choice = weigh(image, base, stock, means, failed)
        key = choice.best.key
        same = shares.setdefault(key, Share(0, choice))  # for boards that differ in what they can carry
        shares[key] = replace(same, boards=same.boards + boards)
    return tuple(sorted(shares.values(), key=lambda share: -share.boards)[:LIMIT])


def next_blob(state: State) -> BlobKey | None:
    """The blob that should be made next, if one is missing."""
    return next((take for share in census(state) if isinstance(take := share.choice.take, BlobKey)), None)


def _needs(state: State, board: Standing) -> Iterator[_Need]:
    """For each image that the board waits for. One that failed before is not tried again, so nothing is made for it."""
    if board.status is not Status.WAITING or board.reported is None or board.unsettled:
        return
    if evidence.quarantined(board, state.quarantine):
        return
    means = state.means_of(board)
    for component, image in board.wanted.images.items():
        base = board.holds.get(component)
        if base != image.sha256:
            yield image, base, means, board.delta_failed
