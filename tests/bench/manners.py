"""What a board takes of its link when it is told to be modest: a month of check-ins, a share left to the payload
application, a capped rate; and whether it counts right.

A check-in is measured at IP level on the emulated link, both ways, from its first packet to its last, over mTLS with a
whole handshake: the broker is restarted before each, for after six hours no TLS session can be taken up again. The
month is calculated from that: 31 days, at the shortest interval that chance makes of six hours, with the reports that a
board without news still sends. The payload application is a download over one TCP connection that takes all it gets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgesync.agent.attendance import DAY, EARLY, wants_report
from edgesync.agent.config import KEEPALIVE
from edgesync.sim import profiles
from edgesync.sim.lab import LinkBytes
from edgesync.sim.net import HUB_ADDRESS, Net
from tests.bench.fleet import Fleet
from tests.bench.measure import BenchError, Figure, MissingPart, Workshop

INTERVAL = 6 * 3600
MONTH = 31 * DAY
BUDGET = 1_000_000
"""Bytes a month."""
TIMES = 3
"""Check-ins of each kind; the dearest counts."""
SHARE = 20
CAP = 8000
"""Bytes a second: 64 kbit/s."""
PLAIN, STAYS = "b01", "b02"
SHARED, CAPPED = "b02", "b03"
LINK = "lte-256k"
CAPPED_AT = 1.03
"""Of a rate cap: reports come on top, and are a hundredth or two of a blob this small."""
COUNTED = 0.97
"""Part of the link's bytes that a board counts itself, at least."""
ALONE = 20.0
"""Seconds that the application has the link for itself, before the push."""
LIMIT = 300.0

_SERVER = """
import socket, threading
def serve(c):
    with c:
        try:
            while True:
                c.sendall(bytes(65536))
        except OSError:
            pass
with socket.create_server(("HOST", 7001)) as s:
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
""".replace("HOST", HUB_ADDRESS)

# Unix time and bytes so far, a line four times a second.
_APPLICATION = """
import socket, time
total, told = 0, 0.0
with socket.create_connection(("HOST", 7001), 60) as s:
    while data := s.recv(65536):
        total += len(data)
        if time.time() - told >= 0.25:
            told = time.time()
            print(told, total, flush=True)
""".replace("HOST", HUB_ADDRESS)


def run(workshop: Workshop) -> Iterator[Figure]:
    if reason := Net.unavailable():
        raise MissingPart(f"IP-level counts need emulated links: {reason}")
    yield from _check_ins(workshop)
    yield from _shares(workshop)


# --- check-in -------------------------------------------------------------------------------------------------------


def _check_ins(workshop: Workshop) -> Iterator[Figure]:
    links = dict.fromkeys((PLAIN, STAYS), profiles.load("narrow-32k"))
    with Fleet(workshop, "check-in", links, {PLAIN: "{check_in: 6 h}"}) as fleet:
        ping = _ping(fleet)
        plain = max(_check_in(fleet, signal.SIGUSR1) for _ in range(TIMES))
        told = max(_check_in(fleet, signal.SIGKILL) for _ in range(TIMES))
    where = f"narrow-32k, mTLS, the dearest of {TIMES}, IP level both ways"
    yield Figure("a check-in without news", plain, "bytes", where)
    yield Figure("a check-in with a report", told, "bytes", f"{where}, the report of a new start")
    check_ins, reports = _a_month()
    month = (check_ins - reports) * plain + reports * told
    conditions = f"calculated: {check_ins} check-ins, {reports} with a report"
    yield Figure("a month of check-ins every 6 h", month, "bytes", conditions, BUDGET)
    conditions = f"calculated: {ping} bytes at IP level each {KEEPALIVE} s, the other board on the same kind of link"
    yield Figure("a month of a board that stays connected, idle", MONTH / KEEPALIVE * ping, "bytes", conditions)


def _ping(fleet: Fleet) -> int:
    """Bytes of one sign of life between the broker and an idle board that stays connected."""
    before = fleet.quiet(STAYS)
    fleet.wait(lambda: fleet.lab.carried(STAYS) != before, 2 * KEEPALIVE, "a sign of life")
    carried = fleet.quiet(STAYS).since(before)
    return carried.up + carried.down


def _check_in(fleet: Fleet, wish: signal.Signals) -> int:
    """Bytes of one check-in that this signal to the agent brings about; one that is killed is started again."""
    _left(fleet, since=0)
    fleet.lab.broker.restart()
    before, at = fleet.quiet(PLAIN), len(fleet.log(PLAIN))
    os.kill(fleet.agent(PLAIN), wish)
    _left(fleet, since=at)
    carried = fleet.quiet(PLAIN).since(before)
    fresh = fleet.log(PLAIN)[at:]
    reports = fresh.count("reported phase=")
    if fresh.count("connected to") != 1 or reports != (wish is signal.SIGKILL):
        raise BenchError(f"not one check-in with the reports that it shall have; see {fleet.lab.log(PLAIN)}")
    return carried.up + carried.down


def _left(fleet: Fleet, since: int) -> None:
    fleet.wait(
        lambda: (
            "not connected" in fleet.log(PLAIN)[since:].rpartition("leaving for")[2]
            and "leaving for" in fleet.log(PLAIN)[since:]
        ),
        LIMIT,
        "the board to leave",
    )


def _a_month() -> tuple[int, int]:
    """Check-ins of a month and how many of them report, at the shortest interval that chance can make."""
    now, reported, count, reports = 0.0, 0.0, 0, 0
    while now < MONTH:
        now += INTERVAL * (1 - EARLY)
        count += 1
        if wants_report(now, reported, INTERVAL):
            reported = now
            reports += 1
    return count, reports


# --- share and rate -------------------------------------------------------------------------------------------------


def _shares(workshop: Workshop) -> Iterator[Figure]:
    links = dict.fromkeys((PLAIN, SHARED, CAPPED), profiles.load(LINK))
    manners = {SHARED: f"{{share: {SHARE} %}}", CAPPED: f"{{rate_cap: {CAP * 8 // 1000} kbit/s}}"}
    with Fleet(workshop, "share", links, manners) as fleet:
        room = workshop.room("application")
        server = fleet.lab.popen([sys.executable, "-c", _SERVER])
        time.sleep(1.0)
        applications = {board: _application(fleet, board, room) for board in (PLAIN, SHARED)}
        try:
            time.sleep(ALONE)
            pushed = time.time()
            fleet.push()
            capped = _rate_of(fleet, CAPPED)
            for board in (PLAIN, SHARED):
                fleet.wait(lambda: "fetching > applying" in fleet.log(board), LIMIT, f"{board} to fetch")  # noqa: B023
        finally:
            for program in (server, *applications.values()):
                program.kill()
                program.wait()
        kept = {board: _kept(fleet, board, room / board, pushed) for board in (PLAIN, SHARED)}
        fleet.wait(lambda: fleet.confirmed(CAPPED), LIMIT, f"{CAPPED} to prove demo-v2")
        carried, told = fleet.quiet(CAPPED), fleet.reported(CAPPED)
        assert told is not None
        counted = told["month"] / (carried.up + carried.down)
    where = f"{LINK}, blob of {fleet.blob_length(PLAIN)} bytes, of what it gets with the link for itself"
    yield Figure("application beside an update, no manners", kept[PLAIN], "", where)
    name = f"application beside an update, share {SHARE} %"
    yield Figure(name, kept[SHARED], "", where, 1 - SHARE / 100, "at least")
    conditions = f"{LINK}, rate_cap {CAP} B/s, three reports included"
    yield Figure("an update's bytes a second, of a rate_cap", capped / CAP, "", conditions, CAPPED_AT)
    conditions = f"{LINK}, no loss, from the first start over an update and its reboot, the last report not in it"
    yield Figure("a board's own count of its month, of the link's", counted, "", conditions, COUNTED, "at least")


def _application(fleet: Fleet, board: str, room: Path) -> subprocess.Popen[bytes]:
    with (room / board).open("wb") as out:
        return fleet.lab.popen([sys.executable, "-c", _APPLICATION], board=board, stdout=out)


def _rate_of(fleet: Fleet, board: str) -> float:
    """Bytes a second of the link's both ways, from the first SUBSCRIBE to the last verified piece."""

    def seen(text: str) -> tuple[float, LinkBytes]:
        fleet.wait(lambda: text in fleet.log(board), LIMIT, f"{board}: {text}", every=0.02)
        return time.monotonic(), fleet.lab.carried(board)

    began, before = seen("fetch blob=")
    ended, after = seen("fetching > applying")
    carried = after.since(before)
    return (carried.up + carried.down) / (ended - began)


def _kept(fleet: Fleet, board: str, output: Path, pushed: float) -> float:
    """The application's bytes a second while the board fetches, as a part of those before the push."""
    lines = [line.split() for line in output.read_text().splitlines()]
    samples = [(float(moment), int(total)) for moment, total in (line for line in lines if len(line) == 2)]

    def rate(begin: float, end: float) -> float:
        inside = [sample for sample in samples if begin <= sample[0] <= end]
        if len(inside) < 10:
            raise BenchError(f"{board}: the application said {len(inside)} lines only; see {output}")
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])

    alone = rate(pushed - ALONE / 2, pushed)
    return rate(fleet.moment(board, "fetch blob="), fleet.moment(board, "fetching > applying")) / alone
