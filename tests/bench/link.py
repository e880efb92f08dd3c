"""What an update costs and how fast it comes over 32 kbit/s with 600 ms round trip: a link without loss, one that loses
5 % of the packets each way, and one whose carrier cuts all connections every 12 s.

Bytes are counted at IP level on the emulated link, both ways, from the push to the confirmed report and its last
acknowledgement: waiting for the delta, handshakes (that of the reboot too), reports and keepalive included. The rate is
the blob's length over the time from the board's first SUBSCRIBE to its last verified piece, as a part of the link's raw
rate: half a second of asking is in it, so it errs on the low side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgesync.sim import profiles
from edgesync.sim.lab import LinkBytes
from edgesync.sim.net import Net
from tests.bench.fleet import Fleet
from tests.bench.measure import KIB, Figure, MissingPart, Workshop

CLEAR, LOSSY, CUT = "b01", "b02", "b03"
UPDATE_LIMIT = 600.0
"""Seconds from one board's proof to the next one's."""
CUTS_AT_LEAST = 5
"""A fetch that met fewer cuts proves little."""
SHARE, EXTRA = 1.10, 20 * KIB
"""All bytes of an update: at most so many times its blob, plus so many bytes."""
RATE: Mapping[str, float] = {CLEAR: 0.90, LOSSY: 0.80}
"""Payload as a part of the link's rate, at least."""


def run(workshop: Workshop) -> Iterator[Figure]:
    if reason := Net.unavailable():
        raise MissingPart(f"IP-level counts need emulated links: {reason}")
    narrow = profiles.load("narrow-32k")
    links = {CLEAR: narrow, LOSSY: narrow.with_loss(0.05), CUT: narrow.replace(reset_every=12.0)}
    with Fleet(workshop, "link", links) as fleet:
        before = {board: fleet.lab.carried(board) for board in links}
        before[CLEAR] = fleet.quiet(CLEAR)
        fleet.push()
        for board, what in {CLEAR: "no loss", LOSSY: "5 % loss", CUT: "cut every 12 s"}.items():
            fleet.wait(lambda board=board: fleet.confirmed(board), UPDATE_LIMIT, f"{board} ({what}) to prove demo-v2")
            # The connection of the board that is cut is never idle for long; its bytes have no limit.
            end = fleet.lab.carried(board) if board == CUT else fleet.quiet(board)
            yield from _figures(fleet, board, f"narrow-32k, {what}", end.since(before[board]))


def _figures(fleet: Fleet, board: str, where: str, carried: LinkBytes) -> Iterator[Figure]:
    blob = fleet.blob_length(board)
    total = carried.up + carried.down
    limit = SHARE * blob + EXTRA if board == CLEAR else None
    yield Figure(f"all bytes of the update, {where}", total, "bytes", f"blob of {blob} bytes, IP level", limit)
    yield Figure(f"all bytes as a part of the blob, {where}", total / blob, "", "IP level, both ways")
    seconds = fleet.moment(board, "phase fetching > applying") - fleet.moment(board, "fetch blob=")
    rate = fleet.links[board].down.rate / 8
    conditions = f"{blob} bytes in {seconds:.1f} s of a link of {rate:.0f} B/s"
    name = f"payload as a part of the link's rate, {where}"
    yield Figure(name, blob / seconds / rate, "", conditions, RATE.get(board), "at least")
    told = fleet.reported(board)
    assert told is not None
    traffic = told["traffic"]
    yield Figure(f"bytes fetched again, {where}", traffic["refetched"], "bytes", "by the board's last report")
    if board == CLEAR:
        yield from _parts(traffic, total)
    if board == CUT:
        fetching = fleet.log(board).partition("fetch blob=")[2].partition("phase fetching > applying")[0]
        name = f"connections that were cut while the blob came, {where}"
        yield Figure(name, fetching.count("not connected"), "count", conditions, CUTS_AT_LEAST, "at least")


def _parts(traffic: Mapping[str, int], total: int) -> Iterator[Figure]:
    """Where the bytes went, by the board's own ledger and the link's count."""
    tcp = traffic["tcp_in"] + traffic["tcp_out"]
    payload = traffic["blob"] + traffic["refetched"] + traffic["metadata"] + traffic["reported"]
    for name, value in {
        "blob": traffic["blob"] + traffic["refetched"],
        "index and desired": traffic["metadata"],
        "reports": traffic["reported"],
        "TLS and MQTT": tcp - payload,
        "IP and TCP headers, and what came before and after the ledger": total - tcp,
    }.items():
        yield Figure(f"of these: {name}", value, "bytes", "narrow-32k, no loss")
