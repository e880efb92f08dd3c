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
from notebooks.sample.story import BOARDS, DAY, FLEET

DATA = Path(__file__).parents[1] / "data"


def make(lake: Path, begin: float, seed: int) -> int:
    """A lake of the model fleet's day, which begins at `begin` (unix seconds); the number of batches."""
    rollouts = list(parts(begin, random.Random(seed)))
    own: dict[DeviceId, list[Part]] = {device: [] for device in BOARDS}
    for _, done in rollouts:
        for _, part in done:
            own[part.device].append(part)

    def boards() -> Iterator[tuple[DeviceId, Data]]:
        for number, device in enumerate(BOARDS):
            dice = random.Random(seed * 1000 + number)
            for batch in readings.metrics(device, begin, own[device], dice):
                yield device, batch
            if spans := [span for part in own[device] for span in part.spans]:
                yield device, traces(spans)
            yield device, readings.logs(device, begin, own[device], dice)

    server = [of_server(begin, rollout, done) for rollout, done in rollouts]
    with tempfile.TemporaryDirectory(prefix="sample-") as scratch:
        return asyncio.run(run(lake, Path(scratch), arrival=begin + DAY, fleet=FLEET, boards=boards(), server=server))


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
