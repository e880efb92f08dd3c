"""How often the server publishes for one release: a blob once, whether 12 boards need it or 1,200, and `desired` once
a board; and what a changed line of config for 10,000 boards costs it.

Real git, real server, real mosquitto on loopback; the boards are their signed messages, all over one connection that
also counts what the broker passes on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesync.control.service import Service
from edgesync.sim.broker import find_mosquitto
from edgesync.wire.ids import digest_of
from tests.bench import thousands
from tests.bench.measure import BenchError, Figure, MissingPart, Workshop
from tests.control import serverlab

FLEETS = (12, 1200)
NEWS = 100_000
"""Bytes of the second image that are new, so that its delta is some blocks long."""
LIMIT = 240.0
"""Seconds for each of: the fleet's first report, the roll-out of the release."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one release: blobs and desired states that the server says it published, and messages that the broker passed
    on of each; `again` are topics of blobs that were published more than once.
    """

    blobs: int
    blob_messages: int
    again: int
    desired: int
    desired_messages: int


def run(workshop: Workshop) -> Iterator[Figure]:
    if not find_mosquitto():
        raise MissingPart("mosquitto is not installed (apt-get install mosquitto)")
    counted = {}
    for boards in FLEETS:
        workshop.say(f"rolling out to {boards} boards")
        counted[boards] = asyncio.run(_count(workshop.room(f"scale-{boards}"), boards))
    few = counted[FLEETS[0]].blob_messages
    for boards, of in counted.items():
        where = f"{boards} boards that need the same delta, mosquitto"
        as_many = None if boards == FLEETS[0] else few
        yield Figure(f"blobs published, {boards} boards", of.blobs, "count", where, 1)
        yield Figure(f"messages of blobs, {boards} boards", of.blob_messages, "count", where, as_many)
        yield Figure(f"of these, came more than once, {boards} boards", of.again, "count", where, 0)
        yield Figure(f"desired states published, {boards} boards", of.desired, "count", where, boards)
        yield Figure(f"messages of desired, {boards} boards", of.desired_messages, "count", where, boards)
    yield from thousands.run(workshop)


async def _count(place: Path, boards: int) -> Counted:
    chance = random.Random(boards)
    first = chance.randbytes(200_000)
    second = first + chance.randbytes(NEWS)
    with serverlab.open_broker(place / "broker") as broker:
        lab = serverlab.Lab(place, boards, broker.port)
        old = lab.release("v1", first)
        played = serverlab.Boards(lab, old)
        async with serverlab.serving(lab) as service, played.connected():
            await played.report_all()
            await serverlab.until(lambda: _settled(service, played, boards), LIMIT)
            before, heard = service.status()["publisher"], played.desired_messages.total()
            new = digest_of(second)
            lab.release("v2", second)
            await serverlab.until(
                lambda: all(b.image == new for b in played.played.values()) and _settled(service, played, 2 * boards),
                LIMIT,
            )
            after = service.status()["publisher"]
    if not played.blob_messages:
        raise BenchError("no blob crossed the broker: the boards got nothing to fetch")
    return Counted(
        after["blobs_published"] - before["blobs_published"],
        played.blob_messages.total(),
        sum(count > 1 for count in played.blob_messages.values()),
        after["desired_published"] - before["desired_published"],
        played.desired_messages.total() - heard,
    )


def _settled(service: Service, played: serverlab.Boards, desired: int) -> bool:
    """Every board is confirmed, nothing waits to be published, and the boards have heard all that was: at least
    `desired` messages, for before the first of them nothing waits either.
    """
    publisher = service.status()["publisher"]
    return (
        serverlab.statuses(service) == {"confirmed": len(played.played)}
        and publisher["idle"]
        and played.desired_messages.total() >= max(desired, publisher["desired_published"])
    )
