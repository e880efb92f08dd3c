"""What a changed line of config costs, and how long it takes from the push until it is in force and proved, on a board
that is connected over 32 kbit/s with 600 ms round trip.

Bytes are counted at IP level on the emulated link, both ways, from the commit until the report is acknowledged and the
link was idle: the signed desired state, the delta, every acknowledgement and the report are in it. Seconds are from
before `git commit` to the agent's line that the config has proved itself, on one clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from edgesync.sim import profiles
from edgesync.sim.net import Net
from tests.bench.fleet import Fleet
from tests.bench.measure import KIB, Figure, MissingPart, Workshop

BOARD = "b01"
CHANGES = 5
SETTLE_LIMIT = 60.0
"""Seconds from one board's proof to the next one's."""
BYTES_LIMIT = 4 * KIB
SECONDS_LIMIT = 5.0
PROVED = "config is idle, was probing"

_APPLICATION = "".join(f"key{number} = {number * number}\n" for number in range(60))
_SITE = 'board = "{{ board }}"\nrelease = "{{ release }}"\n'


def run(workshop: Workshop) -> Iterator[Figure]:
    if reason := Net.unavailable():
        raise MissingPart(f"IP-level counts need emulated links: {reason}")
    with Fleet(workshop, "change", {BOARD: profiles.load("narrow-32k")}) as fleet:
        _change(fleet, 0, {"app/site.conf.j2": _SITE})
        carried, seconds = [], []
        for number in range(1, CHANGES + 1):
            before = fleet.quiet(BOARD)
            seconds.append(_change(fleet, number))
            used = fleet.quiet(BOARD).since(before)
            carried.append(used.up + used.down)
        where = f"narrow-32k, {CHANGES} changes of a line, one after the other"
        mean = sum(carried) / CHANGES
        yield Figure("all bytes of a changed line", max(carried), "bytes", f"{where}: the dearest", BYTES_LIMIT)
        yield Figure("their mean", mean, "bytes", where)
        yield Figure("from the push to config in force", max(seconds), "s", f"{where}: the slowest", SECONDS_LIMIT)
        yield Figure("their mean time", sum(seconds) / CHANGES, "s", where)


def _change(fleet: Fleet, number: int, more: dict[str, str] | None = None) -> float:
    """Push one changed line; seconds until it has proved itself."""
    changed = _APPLICATION.replace("key30 = 900", f"key30 = {number}")
    begin, count = time.time(), fleet.log(BOARD).count(PROVED)
    fleet.configure({"app/main.conf": changed, **(more or {})}, f"Set key30 to {number}")
    fleet.wait(lambda: fleet.log(BOARD).count(PROVED) > count, SETTLE_LIMIT, f"change {number}", every=0.05)
    return fleet.moments(BOARD, PROVED)[-1] - begin
