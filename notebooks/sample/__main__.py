"""`python -m notebooks.sample`: make the notebooks' data anew."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from collector_ext.pdata import Data
from collector_ext.receiver.agent.receiver import traces
from edgesync.wire.ids import DeviceId
from notebooks.sample import readings
from notebooks.sample.pipeline import run
from notebooks.sample.spans import Part, of_server, parts
from notebooks.sample.story import DAY, FLEET, Story, planted

DATA = Path(__file__).parents[1] / "data"


def told(story: Story, begin: float, seed: int) -> Iterator[tuple[DeviceId, Iterator[Data]]]:
    """What each board tells in the day that begins at `begin` (unix seconds): hour by hour, then spans and logs."""
    own: dict[DeviceId, list[Part]] = {device: [] for device in story.boards}
    for _, done in parts(story, begin, random.Random(seed)):
        for _, part in done:
            own[part.device].append(part)

    def one(device: DeviceId, dice: random.Random) -> Iterator[Data]:
        yield from readings.metrics(story, device, begin, own[device], dice)
        if spans := [span for part in own[device] for span in part.spans]:
            yield traces(spans)
        yield readings.logs(story, device, begin, own[device], dice)

    for number, device in enumerate(story.boards):
        yield device, one(device, random.Random(seed * 1000 + number))


def told_by_server(story: Story, begin: float, seed: int) -> list[Data]:
    """What the server tells of the day's rollouts."""
    return [of_server(begin, rollout, done) for rollout, done in parts(story, begin, random.Random(seed))]


def make(lake: Path, begin: float, seed: int) -> int:
    """A lake of the model fleet's day; the number of batches."""
    story = planted()
    boards = ((device, data) for device, several in told(story, begin, seed) for data in several)
    server = told_by_server(story, begin, seed)
    with tempfile.TemporaryDirectory(prefix="sample-") as scratch:
        return asyncio.run(run(lake, Path(scratch), arrival=begin + DAY, fleet=FLEET, boards=boards, server=server))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m notebooks.sample", description=__doc__)
    parser.add_argument("--out", type=Path, default=DATA, help="the lake, made anew (%(default)s)")
    parser.add_argument("--begin", default="2026-03-02", help="the day, UTC (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed makes the same rows (%(default)s)")
    arguments = parser.parse_args()
    begin = datetime.fromisoformat(arguments.begin).replace(tzinfo=timezone.utc).timestamp()
    shutil.rmtree(arguments.out, ignore_errors=True)
    sent = make(arguments.out, begin, arguments.seed)
    for name in ("wal", "lock"):
        left = arguments.out / name
        left.rmdir() if left.is_dir() else left.unlink(missing_ok=True)
    size = sum(file.stat().st_size for file in arguments.out.rglob("*.parquet"))
    print(f"{arguments.out}: {sent} batches, {size} bytes")


if __name__ == "__main__":
    main()
