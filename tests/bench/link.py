"""What an update costs and how fast it comes over 32 kbit/s with 600 ms round trip: on a link without loss, on links
that lose 5 % of the packets each way, and on one whose carrier cuts all connections every 12 s.

Bytes are counted at IP level on the emulated link, both ways, from the push to the confirmed report and its last
acknowledgement: waiting for the delta, handshakes (that of the reboot too), reports and keepalive included. The rate is
the blob's length over the time from the board's first SUBSCRIBE to its last verified piece, as a part of the link's raw
rate: half a second of asking is in it, so it errs on the low side. Where packets are lost, chance decides a tenth of
it, so it is the mean of several boards with losses of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgesync.sim import profiles
from edgesync.sim.lab import LinkBytes
from edgesync.sim.net import Net
from tests.bench.fleet import Fleet
from tests.bench.measure import KIB, Figure, MissingPart, Workshop

CLEAR, LOSSY, CUT = "b01", ("b02", "b03", "b04", "b05"), "b06"
LOSS = 0.05
RESET_EVERY = 12.0
UPDATE_LIMIT = 600.0
"""Seconds from one board's proof to the next one's."""
CONNECTIONS = 5
"""A fetch that met fewer cuts proves little."""
SHARE, EXTRA = 1.10, 20 * KIB
"""All bytes of an update: at most so many times its blob, plus so many bytes."""
RATE, RATE_LOSSY = 0.90, 0.80
"""Payload as a part of the link's rate, at least."""


@dataclass(frozen=True, slots=True)
class Update:
    """One board's: bytes of the blob and on the link, seconds of the fetch, and the board's ledger."""

    blob: int
    carried: int
    seconds: float
    traffic: Mapping[str, int]


def run(workshop: Workshop) -> Iterator[Figure]:
    if reason := Net.unavailable():
        raise MissingPart(f"IP-level counts need emulated links: {reason}")
    narrow = profiles.load("narrow-32k")
    lossy = dict.fromkeys(LOSSY, narrow.with_loss(LOSS))
    links = {CLEAR: narrow, **lossy, CUT: narrow.replace(reset_every=RESET_EVERY)}
    with Fleet(workshop, "link", links) as fleet:
        # The connection of the board that is cut is never idle for long; its bytes have no limit.
        before = {board: fleet.lab.carried(board) if board == CUT else fleet.quiet(board) for board in links}
        fleet.push()
        rate = narrow.down.rate / 8
        clear = _follow(fleet, CLEAR, before)
        yield from _figures([clear], rate, "no loss", SHARE * clear.blob + EXTRA, RATE)
        yield from _parts(clear)
        yield from _figures([_follow(fleet, board, before) for board in LOSSY], rate, "5 % loss", None, RATE_LOSSY)
        yield from _figures([_follow(fleet, CUT, before)], rate, "cut every 12 s", None, None)
        fetching = fleet.log(CUT).partition("fetch blob=")[2].partition("phase fetching > applying")[0]
        name, count = "connections beyond the first, cut every 12 s", fetching.count("connected to")
        yield Figure(name, count, "count", "while the blob came", CONNECTIONS, "at least")


def _follow(fleet: Fleet, board: str, before: Mapping[str, LinkBytes]) -> Update:
    """Wait until the board has proved demo-v2."""
    fleet.wait(lambda: fleet.confirmed(board), UPDATE_LIMIT, f"{board} to prove demo-v2")
    end = fleet.lab.carried(board) if board == CUT else fleet.quiet(board)
    carried = end.since(before[board])
    told = fleet.reported(board)
    assert told is not None
    seconds = fleet.moment(board, "phase fetching > applying") - fleet.moment(board, "fetch blob=")
    return Update(fleet.blob_length(board), carried.up + carried.down, seconds, told["traffic"])


def _figures(
    updates: Sequence[Update], rate: float, what: str, bytes_limit: float | None, rate_limit: float | None
) -> Iterator[Figure]:
    """Means over boards on the same kind of link of `rate` bytes a second."""
    count, blob = len(updates), updates[0].blob
    where = f"narrow-32k, {what}" + (f", mean of {count} boards" if count > 1 else "")
    carried = sum(update.carried for update in updates) / count
    yield Figure(
        f"all bytes, {what}", carried, "bytes", f"{where}, blob of {blob} bytes, IP level both ways", bytes_limit
    )
    yield Figure(f"all bytes as a part of the blob, {what}", carried / blob, "", where)
    rates = [update.blob / update.seconds / rate for update in updates]
    name = f"payload as a part of the link's rate, {what}"
    conditions = f"{where}, fetched in {', '.join(f'{update.seconds:.0f}' for update in updates)} s at {rate:.0f} B/s"
    yield Figure(name, count / sum(1 / part for part in rates), "", conditions, rate_limit, "at least")
    if count > 1:
        yield Figure(f"the slowest of these, {what}", min(rates), "", where)
    refetched = sum(update.traffic["refetched"] for update in updates) / count
    yield Figure(f"bytes fetched again, {what}", refetched, "bytes", f"{where}, by the boards' last reports")


def _parts(update: Update) -> Iterator[Figure]:
    """Where the bytes went, by the board's ledger and the link's count."""
    traffic = update.traffic
    tcp = traffic["tcp_in"] + traffic["tcp_out"]
    payload = traffic["blob"] + traffic["refetched"] + traffic["metadata"] + traffic["reported"]
    for name, value in {
        "blob": traffic["blob"] + traffic["refetched"],
        "index and desired": traffic["metadata"],
        "reports": traffic["reported"],
        "TLS and MQTT": tcp - payload,
        "IP and TCP headers, and what came before and after the ledger": update.carried - tcp,
    }.items():
        yield Figure(f"of these: {name}", value, "bytes", "narrow-32k, no loss")
