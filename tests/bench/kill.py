"""What a board fetches again after a SIGKILL of its agent and after power cuts: in mid-download at most the two pieces
in flight, in mid-apply nothing.

Four boards at 256 kbit/s get the same delta. One is left alone; one loses its agent five times on the way; one its
power in mid-download; one its power while the other slot is written. Counted twice: by the board (blocks that it paid
for and had not kept), and on its link, as what went down beyond that of the board which was left alone. The link's
count holds new handshakes and reports too, and what still waited for the link when the board died.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from edgesync.agent.fetch import WINDOW
from edgesync.sim import profiles
from edgesync.sim.lab import LinkBytes
from edgesync.wire.blob import PIECE
from tests.bench.fleet import Fleet
from tests.bench.measure import KIB, BenchError, Figure, Workshop

LINK = "lte-256k"
ALONE, KILLED, CUT_FETCHING, CUT_APPLYING = "b01", "b02", "b03", "b04"
STRIKES = {
    KILLED: ((0.15, 0.0), (0.3, 0.1), (0.45, 0.2), (0.6, 0.3), (0.75, 0.4)),
    CUT_FETCHING: ((0.5, 0.35),),
    CUT_APPLYING: (),
}
"""When a board is struck: the part of the blob that has gone down its link, and seconds after that. Pieces are asked
for in a rhythm of half a second, so strikes without the seconds would all fall on the same beat.
"""
INTO_APPLY = 0.2
"""Seconds after the start of an apply, which takes half a second and more."""
UPDATE_LIMIT = 300.0
"""Seconds from the push to the last confirmed board."""
IN_FLIGHT = WINDOW * PIECE
ON_LINK = 1.1 * IN_FLIGHT + 8 * KIB
"""Bytes towards the board that one kill may cost: the pieces with their headers, a handshake, what reports bring."""
APPLYING = "edgesync.apply apply component"


def run(workshop: Workshop) -> Iterator[Figure]:
    links = dict.fromkeys((ALONE, *STRIKES), profiles.load(LINK))
    with Fleet(workshop, "kill", links) as fleet:
        before = {board: fleet.quiet(board) for board in links}
        fleet.push()
        _strike(fleet, before, workshop)
        fleet.wait(lambda: all(map(fleet.confirmed, links)), UPDATE_LIMIT, "every board to prove demo-v2")
        carried = {board: fleet.quiet(board).since(before[board]) for board in links}
        _check(fleet)
        for board, what, kills, connections in (
            (KILLED, "agent killed five times in mid-download", 5, 5),
            (CUT_FETCHING, "power cut in mid-download", 1, 1),
            (CUT_APPLYING, "power cut in mid-apply", 0, 1),
        ):
            told = fleet.reported(board)
            assert told is not None
            count = told["traffic"]["refetched"]
            conditions = f"{LINK}, blob of {fleet.blob_length(board)} bytes, {WINDOW} pieces of {PIECE} a kill"
            yield Figure(f"fetched again, {what}", count, "bytes", conditions, kills * IN_FLIGHT)
            more = carried[board].down - carried[ALONE].down
            limit = kills * ON_LINK if kills else connections * 8 * KIB
            conditions = f"{carried[board].level} level, handshakes included"
            yield Figure(f"more on the link than for a board left alone, {what}", more, "bytes", conditions, limit)


def _strike(fleet: Fleet, before: Mapping[str, LinkBytes], workshop: Workshop) -> None:
    """Let each strike fall at its moment."""
    due = {board: list(strikes) for board, strikes in STRIKES.items()}
    reached: dict[str, float] = {}
    applying = False
    end = time.monotonic() + UPDATE_LIMIT
    while any(due.values()) or not applying:
        now = time.monotonic()
        if now > end:
            raise BenchError(f"the boards did not get so far as to be struck in {UPDATE_LIMIT:.0f} s")
        for board, strikes in due.items():
            if not strikes or not (length := fleet.blob_length(board)) or not fleet.agent(board):
                continue
            part, after = strikes[0]
            if fleet.lab.carried(board).since(before[board]).down >= part * length:
                reached.setdefault(board, now)
            if now >= reached.get(board, end) + after:
                strike = fleet.kill_agent if board == KILLED else fleet.lab.power_cut
                strike(board)
                del reached[board], strikes[0]
                workshop.say(f"{board} struck at {part:.0%} of its blob")
        if not applying and APPLYING in fleet.log(CUT_APPLYING):
            time.sleep(INTO_APPLY)
            fleet.lab.power_cut(CUT_APPLYING)
            applying = True
            workshop.say(f"{CUT_APPLYING} struck in mid-apply")
        time.sleep(0.02)


def _check(fleet: Fleet) -> None:
    """Every strike fell where it should. Raises BenchError."""
    for board in (KILLED, CUT_FETCHING):
        told, wanted = fleet.log(board).partition("phase fetching > applying")[0], len(STRIKES[board])
        if (hits := told.count('"signal": "SIGKILL"')) != wanted:
            raise BenchError(f"{board}: {hits} of {wanted} strikes fell into the download; see its log")
    told, cut, rest = fleet.log(CUT_APPLYING).partition('"power-cut"')
    if APPLYING not in told or "applying > activating" in told or not cut or APPLYING not in rest:
        raise BenchError(f"{CUT_APPLYING}: the power cut missed the apply; see {fleet.lab.log(CUT_APPLYING)}")
