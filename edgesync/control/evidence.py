"""What one board's report proves, and whether its desired state is still the right one. Pure; the rules that these
functions carry out are numbered in `edgesync.control.rollout`.
"""

from __future__ import annotations

from dataclasses import replace

from edgesync.control.planner import DELTA_ERRORS
from edgesync.control.standing import Standing, Status
from edgesync.wire.errors import QuarantinedError
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import ErrorReport, Phase

PENDING_AFTER = 900.0
"""Seconds without a report before activation until a board no longer holds up its wave."""


def learn(board: Standing) -> Standing:
    """Keep what a report says of failures that outlive it: quarantined digests, and a delta that cannot work.

    A report older than the desired state in force, or than a retry that is not published yet, teaches nothing.
    """
    report, offered = board.reported, board.offered
    if report is None:
        return board
    current = (
        board.retry == 0
        if offered is None
        else (report.version >= offered.first and offered.desired.retry == board.retry)
    )
    if not current:
        return board
    quarantine = board.quarantine | frozenset(report.quarantine)
    delta_failed = board.delta_failed
    if offered and report.phase is Phase.FAILED and offered.digests == board.wants:
        if report.error and report.error.name in DELTA_ERRORS and offered.has_delta:
            delta_failed = report.error
        else:
            quarantine |= {target.sha256 for target in offered.desired.targets if target.source}
    if (quarantine, delta_failed) == (board.quarantine, board.delta_failed):
        return board
    return replace(board, quarantine=quarantine, delta_failed=delta_failed)


def is_confirmed(board: Standing) -> bool:
    """Rule 5 (and rule 3 for a board that was offered nothing). Once confirmed, only other evidence takes it back."""
    report, offered, wants = board.reported, board.offered, board.wants
    if report is None or not report.confirmed or board.holds != wants:
        return False
    if board.status is Status.CONFIRMED or offered is None:
        return True
    if offered.base == wants:
        return offered.digests == wants and report.version >= offered.first
    return report.boot_id != offered.boot_id


def needs_offer(board: Standing, blobs: frozenset[BlobId]) -> bool:
    """True where the desired state in force is not, or no longer, the one that brings the board to what it wants.
    `blobs` are those that exist.
    """
    report, offered = board.reported, board.offered
    if offered is None or report is None or offered.digests != board.wants or offered.desired.retry != board.retry:
        return True
    if report.version > offered.desired.version:
        return True
    if (board.delta_failed and offered.has_delta) or not offered.blobs <= blobs:
        return True
    return not board.unsettled and board.holds not in (offered.base, board.wants)


def in_flight(board: Standing) -> bool:
    """True where the board may be working towards the desired state in force."""
    report, offered = board.reported, board.offered
    if report is None or offered is None or offered.desired.hold:
        return False
    if report.version >= offered.first and report.phase is Phase.FAILED:
        return False
    return any(report.images.get(component) != digest for component, digest in offered.digests.items())


def quarantined(board: Standing, fleet: frozenset[Digest]) -> ErrorReport | None:
    """Why the board is not offered what it wants, if an image that it lacks failed before (rule 8)."""
    lacking = {digest for component, digest in board.wants.items() if board.holds.get(component) != digest}
    for digest in sorted(lacking & (board.quarantine | fleet)):
        whose = "this board" if digest in board.quarantine else "the fleet"
        return ErrorReport.of(QuarantinedError(f"image {digest[:12]} failed before on {whose}"))
    return None


def silence(board: Standing, now: float, listening: float | None) -> float:
    """Seconds for which this board could have been heard and was not."""
    if listening is None:
        return 0.0
    return now - max(board.seen, listening, board.offered.at if board.offered else 0.0)


def judge(board: Standing, now: float, listening: float | None, lost_after: float) -> tuple[Status, ErrorReport | None]:
    """The standing of a board whose desired state is the right one and that is not confirmed."""
    report, offered = board.reported, board.offered
    assert report is not None
    assert offered is not None
    failure = quarantined(board, frozenset())
    if report.version >= offered.first and (report.phase is Phase.FAILED or failure):
        return Status.FAILED, report.error or failure
    if _gone_silent(board):
        return board.status, board.error
    quiet = silence(board, now, listening)
    if board.unsettled or (board.holds == board.wants and report.boot_id != offered.boot_id):
        return (Status.LOST if quiet > lost_after else Status.ACTIVATED), report.error
    if quiet > PENDING_AFTER:
        return Status.PENDING, report.error
    if report.version < offered.first:
        return Status.OFFERED, None
    return Status.ACTING, report.error


def _gone_silent(board: Standing) -> bool:
    """Found silent, and nothing came since: a broker that was away for a while does not make it heard again."""
    changed = max(board.seen, board.offered.at if board.offered else 0.0)
    return board.status in (Status.PENDING, Status.LOST) and changed < board.since
