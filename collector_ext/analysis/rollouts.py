"""One rollout from the commit to the last confirmation: the boards' standing, one board's trace, who failed and why."""

from __future__ import annotations

from typing import Any

from collector_ext.analysis.finding import NOTHING, Finding, so_many
from collector_ext.lake.reader import Lake
from edgesync.wire import trace
from edgesync.wire.ids import parse_device

_ALL = """
SELECT attributes->>'$."edgesync.rollout"' AS rollout, any_value(attributes->>'$."edgesync.release"') AS release,
       min(time) AS began, max(t."end") AS ended, count(*) AS boards,
       count(*) FILTER (status = 'error') AS failed
FROM traces t WHERE name = 'board' GROUP BY 1 ORDER BY began
"""
_BOARDS = """
SELECT attributes->>'$."edgesync.device"' AS device, attributes->>'$."edgesync.wave"' AS wave,
       attributes->>'$."edgesync.status"' AS status, message AS error, time AS offered, t."end" AS ended,
       epoch(t."end" - time) / 60 AS minutes
FROM traces t WHERE name = 'board' AND attributes->>'$."edgesync.rollout"' = $rollout ORDER BY offered, ended
"""
_PHASES = """
SELECT device, name AS phase, time AS start, t."end" AS "end", epoch(t."end" - time) AS seconds, message AS error
FROM traces t WHERE attributes->>'$."edgesync.rollout"' = $rollout AND name NOT IN ('rollout', 'board', 'make')
AND ($trace = '' OR trace_id = $trace) ORDER BY device, start, "end" DESC
"""
_COMMIT = """
SELECT attributes->>'$."edgesync.revision"' AS revision, attributes->>'$."edgesync.subject"' AS subject,
       attributes->>'$."edgesync.author"' AS author, time AS began, t."end" AS ended
FROM traces t WHERE name = 'rollout' AND trace_id = $trace
"""


def known(lake: Lake) -> Any:
    """Every rollout in the lake, a row each."""
    return lake.frame(_ALL).set_index("rollout")


def commit(lake: Lake, rollout: str) -> Any:
    """The commit's revision, subject and author: one row, none while the rollout is under way."""
    return lake.frame(_COMMIT, {"trace": trace.rollout_trace(rollout)})


def boards(lake: Lake, rollout: str) -> Any:
    """A row a board: wave, how it ended, and the minutes from the offer to the evidence."""
    return lake.frame(_BOARDS, {"rollout": rollout}).set_index("device")


def phases(lake: Lake, rollout: str, device: str = "") -> Any:
    """What boards did, a row a phase, the whole update (`update`) before its parts: of one board, or of all."""
    own = trace.board_trace(rollout, parse_device(device)) if device else ""
    return lake.frame(_PHASES, {"rollout": rollout, "trace": own})


def cause(lake: Lake, rollout: str) -> Finding:
    """The board that failed first, its error as the cause, and the phase in which it happened as the evidence."""
    frame = boards(lake, rollout)
    failed = frame[frame.error != ""]
    if failed.empty:
        return NOTHING
    device = failed.ended.idxmin()
    told = phases(lake, rollout, device)
    broken = told[(told.error != "") & (told.phase != trace.UPDATE)]
    phase = broken.phase.iloc[-1] if len(broken) else "unknown"
    confirmed = int((frame.status == "confirmed").sum())
    return Finding(device, failed.error[device], f"while {phase}; {confirmed} of {so_many(len(frame))} confirmed")
