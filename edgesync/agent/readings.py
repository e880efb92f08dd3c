"""What the agent's numbers are called as telemetry."""

from __future__ import annotations

from collections.abc import Sequence

from edgesync.agent.month import Month
from edgesync.host.telemetry import Reading

LINK_IO = "edgesync.link.io"
PURPOSES = ("blob", "refetched", "metadata", "reported", "config", "telemetry")
OVERHEAD = "overhead"
"""What headers, TLS, handshakes and keepalive take: the rest of what the link carried."""
DRIFT = "edgesync.config.drift"


def readings(month: Month, drift: int) -> Sequence[Reading]:
    """Bytes of the month by purpose, at IP level both ways in all; files of config that somebody changed by hand."""
    known = {purpose: getattr(month, purpose) for purpose in PURPOSES}
    spent = {**known, OVERHEAD: max(0, month.total - sum(known.values()))}
    link = [
        Reading(LINK_IO, "By", value, {"purpose": purpose}, total=True, since=float(month.begin))
        for purpose, value in spent.items()
    ]
    return [*link, Reading(DRIFT, "{file}", drift)]
