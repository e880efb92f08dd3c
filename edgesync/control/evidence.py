"""What one board's report proves, and whether its desired state is still the right one. Pure; the rules that these
functions carry out are numbered in `edgesync.control.rollout`.
"""

from __future__ import annotations

from dataclasses import replace

from edgesync.control.planner import DELTA_ERRORS, MIXED_ERRORS
from edgesync.control.standing import Standing, Status
from edgesync.wire.errors import ConfigIgnoredError, QuarantinedError
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import ConfigPhase, ErrorReport, Phase

DAY = 86400
"""Seconds within which every board reports, if it has news or not; and between two connections of one whose budget is
spent.
"""
PENDING_AFTER = 900.0
"""Seconds without a report before activation until a board no longer holds up its wave."""


def learn(board: Standing) -> Standing:
    """Keep what a report says of failures that outlive it: quarantined digests, and deltas that cannot work.

    A report older than the desired state in force, or than a retry that is not published yet, teaches nothing.
    """
    report, offered = board.reported, board.offered
    if report is None:
        return board
    current = (
        board.retry == 0
        if offered is None
        else (report.version >= (offered.held or offered.first) and offered.desired.retry == board.retry)
    )
    if not current:
        return board
    quarantine = board.quarantine | frozenset(report.quarantine)
    delta_failed, mixed_failed, config_whole = board.delta_failed, board.mixed_failed, board.config_whole
    if offered and report.phase is Phase.FAILED and offered.digests == board.wants:
        if report.error and report.error.name in MIXED_ERRORS and offered.mixed:
            mixed_failed = report.error
        elif report.error and report.error.name in DELTA_ERRORS and offered.has_delta:
            delta_failed = report.error
        else:
            quarantine |= offered.new_images
    if offered and offered.new_config and _config_failed(board) and offered.desired.config == board.wants_config:
        assert report.config is not None
        if report.config.error and report.config.error.name in DELTA_ERRORS and not offered.whole:
            config_whole = True
        elif board.holds_config != offered.new_config:
            quarantine |= {offered.new_config}
    failed = replace(board, delta_failed=delta_failed, mixed_failed=mixed_failed)
    learned = replace(failed, quarantine=quarantine, config_whole=config_whole)
    return board if learned == board else learned


def is_confirmed(board: Standing) -> bool:
    """Rule 5 (and rule 3 for a board that was offered nothing). Once confirmed, only other evidence takes it back."""
    return _images_right(board) and _config_right(board)


def _images_right(board: Standing) -> bool:
    report, offered, wants = board.reported, board.offered, board.wants
    if report is None or not report.confirmed or board.holds != wants:
        return False
    if board.status is Status.CONFIRMED or offered is None:
        return True
    if offered.base == wants:
        return (offered.digests == wants or bool(offered.desired.hold)) and report.version >= offered.first
    return report.boot_id != offered.boot_id


def _config_right(board: Standing) -> bool:
    report, offered, wants = board.reported, board.offered, board.wants_config
    if wants is None:
        return True
    if report is None or report.config is None or report.config.sha256 != wants.sha256:
        return False
    if board.status is Status.CONFIRMED:
        return report.config.phase is not ConfigPhase.FAILED
    if report.config.phase is not ConfigPhase.IDLE:
        return False
    if offered is None:
        return True
    # A hold may have come too late to stop the switch.
    offers_it = offered.desired.config == wants or offered.config_base != wants.sha256
    return offers_it and report.version >= offered.first


def needs_offer(board: Standing, blobs: frozenset[BlobId]) -> bool:
    """True where the desired state in force is not, or no longer, the one that brings the board to what it wants.
    `blobs` are those that exist.
    """
    report, offered = board.reported, board.offered
    if offered is None or report is None or offered.digests != board.wants or offered.desired.retry != board.retry:
        return True
    if offered.desired.config != board.wants_config or offered.desired.manners != board.wanted.manners:
        return True
    if report.version > offered.desired.version:
        return True
    if (board.delta_failed and offered.has_delta) or not offered.blobs <= blobs:
        return True
    if (board.config_whole and not offered.whole) or _cannot_unmix(board):
        return True
    return not board.unsettled and (board.holds not in (offered.base, board.wants) or _has_strange_config(board))


def _cannot_unmix(board: Standing) -> bool:
    """It is offered a mixed delta, has not applied it, and cannot: another agent runs there, or the coder failed."""
    report, offered = board.reported, board.offered
    if report is None or offered is None or not offered.mixed or board.unsettled or board.holds == board.wants:
        return False
    return board.mixed_failed is not None or (bool(board.unmixed) and report.phase is not Phase.FAILED)


def _has_strange_config(board: Standing) -> bool:
    """Neither what the offer in force was made for nor what it makes: its delta does not fit."""
    offered, wants = board.offered, board.wants_config
    return offered is not None and wants is not None and board.holds_config not in (offered.config_base, wants.sha256)


def in_flight(board: Standing) -> bool:
    """True where the board may be working towards the desired state in force."""
    report, offered = board.reported, board.offered
    if report is None or offered is None or offered.desired.hold:
        return False
    images = any(report.images.get(component) != digest for component, digest in offered.digests.items())
    config = offered.desired.config is not None and board.holds_config != offered.desired.config.sha256
    if report.version >= offered.first:
        images = images and report.phase is not Phase.FAILED
        config = config and not _config_failed(board)
    return images or config


def _config_failed(board: Standing) -> bool:
    report = board.reported
    return report is not None and report.config is not None and report.config.phase is ConfigPhase.FAILED


def quarantined(board: Standing, fleet: frozenset[Digest]) -> ErrorReport | None:
    """Why the board is not offered what it wants, if an image or a config that it lacks failed before (rule 8)."""
    lacking = {digest: "image" for component, digest in board.wants.items() if board.holds.get(component) != digest}
    if board.wants_config and board.wants_config.sha256 != board.holds_config:
        lacking[board.wants_config.sha256] = "config"
    for digest in sorted(lacking.keys() & (board.quarantine | fleet)):
        whose = "this board" if digest in board.quarantine else "the fleet"
        return ErrorReport.of(QuarantinedError(f"{lacking[digest]} {digest[:12]} failed before on {whose}"))
    return None


def late_failure(board: Standing) -> ErrorReport | None:
    """Why what a board was offered failed there, where a hold came too late to stop it."""
    report, offered = board.reported, board.offered
    failure = quarantined(board, frozenset())
    if report is None or offered is None or not offered.desired.hold or failure is None:
        return None
    return report.error or (report.config.error if report.config else None) or failure


def suspects(board: Standing) -> frozenset[Digest]:
    """What a failed or lost board was offered and did not have: all of it, but for what is seen not to be to blame."""
    report, offered = board.reported, board.offered
    if report is None or offered is None:
        return frozenset()
    images = offered.new_images
    config = frozenset({offered.new_config} if offered.new_config else ())
    images_bad = bool(images & board.quarantine) or report.phase in (Phase.FAILED, Phase.ACTIVATING, Phase.CONFIRMING)
    config_bad = bool(config & board.quarantine) or _config_failed(board) or board.probing
    if images_bad == config_bad:
        return images | config
    return images if images_bad else config


def absence(board: Standing) -> int:
    """Seconds between two connections of this board, 0 for one that stays: what it was told, and a day where it has
    spent its budget.
    """
    manners, report = board.wanted.manners, board.reported
    spent = manners.budget > 0 and report is not None and report.month >= manners.budget
    return max(manners.check_in, DAY) if spent else manners.check_in


def silence(board: Standing, now: float, listening: float | None) -> float:
    """Seconds for which this board could have been heard and was not. One that connects at times is awaited so long."""
    if listening is None:
        return 0.0
    quiet = now - max(board.seen, listening, board.offered.at if board.offered else 0.0)
    return quiet - absence(board)


def judge(board: Standing, now: float, listening: float | None, lost_after: float) -> tuple[Status, ErrorReport | None]:
    """The standing of a board whose desired state is the right one and that is not confirmed."""
    report, offered = board.reported, board.offered
    assert report is not None
    assert offered is not None
    error = report.error or (report.config.error if report.config else None)
    if report.version >= offered.first:
        failure = quarantined(board, frozenset())
        if report.phase is Phase.FAILED:
            return Status.FAILED, report.error or failure
        if board.wants_config and _config_failed(board):
            return Status.FAILED, (report.config.error if report.config else None) or failure
        if failure:
            return Status.FAILED, error or failure
    if _gone_silent(board):
        return board.status, board.error
    quiet = silence(board, now, listening)
    if board.unsettled or _booted_anew(board):
        return (Status.LOST if quiet > lost_after else Status.ACTIVATED), error
    if quiet > PENDING_AFTER:
        return Status.PENDING, error
    if report.version < offered.first:
        return Status.OFFERED, None
    if _ignores_config(board) and now - offered.at > PENDING_AFTER:
        return Status.WAITING, ErrorReport.of(ConfigIgnoredError("reported: found no config, expected its digest"))
    return Status.ACTING, error


def _booted_anew(board: Standing) -> bool:
    """The images are there, in a boot that has not proved itself."""
    report, offered = board.reported, board.offered
    if report is None or offered is None or board.holds != board.wants or offered.base == board.wants:
        return False
    return report.boot_id != offered.boot_id and not report.confirmed


def _ignores_config(board: Standing) -> bool:
    """Nothing is left to do but what its agent does not know."""
    unknown = board.reported is not None and board.reported.config is None
    return unknown and board.wants_config is not None and _images_right(board)


def _gone_silent(board: Standing) -> bool:
    """Found silent, and nothing came since: a broker that was away for a while does not make it heard again."""
    changed = max(board.seen, board.offered.at if board.offered else 0.0)
    return board.status in (Status.PENDING, Status.LOST) and changed < board.since
