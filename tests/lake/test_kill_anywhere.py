"""A process that is killed before each of its changes to the disk in turn: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
from lake_parts import Clock, numbers, values

from collector_ext.lake import files
from collector_ext.lake.writer import LakeWriter

EXPIRED = range(10)
"""Values of the hour that retention deletes."""

KILLED = """\
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import pandas, pyarrow.dataset  # what pyarrow and DuckDB would import in each child anew
from lake_parts import HOUR, Clock, metrics
from collector_ext.lake.compact import Retention, compact, expire
from collector_ext.lake.writer import LakeWriter

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}

def life(lake, told, last):
    changes = 0
    def struck(event, arguments):
        nonlocal changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            changes += 1
            if changes > last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(struck)
    clock = Clock()
    writer = LakeWriter(lake, clock)
    def write(*several):
        writer.write({"metrics": [metrics(several)]})
        os.write(told, b"".join(b"%d\\n" % number for number in several))
    for hour in range(2):
        for part in range(2):
            write(*range(10 * hour + 5 * part, 10 * hour + 5 * part + 5))
            writer.flush()
        clock.now += HOUR
    write(20, 21)
    list(compact(lake, clock.now))
    expire(lake, Retention(seconds=HOUR), clock.now)
    writer.flush()
    write(22)
    writer.close()

for last in range(200):
    place = Path(sys.argv[1]) / str(last)
    place.mkdir()
    told = os.open(place / "told", os.O_WRONLY | os.O_CREAT)
    child = os.fork()
    if not child:
        life(place / "lake", told, last)
        os._exit(0)
    os.close(told)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_whatever_the_change_before_which_it_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    subprocess.run(command, check=True, timeout=250)
    lives = sorted(tmp_path.iterdir(), key=lambda place: int(place.name))
    assert len(lives) > 40, "so many changes are there at least"
    for life in lives:
        lake = life / "lake"
        acknowledged = {int(line) for line in (life / "told").read_text().split()}
        lake.mkdir(exist_ok=True)
        LakeWriter(lake, Clock()).close()
        found = numbers(values(lake))
        assert len(found) == len(set(found)), f"{life.name}: nothing twice"
        assert acknowledged - set(found) <= set(EXPIRED), f"{life.name}: nothing is lost"
        for path in lake.rglob("*.parquet"):
            assert duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall(), f"{life.name}: {path.name} is readable"
        left = [path for path in lake.rglob("*") if path.name.endswith(files.TEMPORARY) or files.SPILL in path.name]
        assert left == [], f"{life.name}: what was half-written is swept up"
    assert set(numbers(values(lives[-1] / "lake"))) == set(range(10, 23)), "the last one was not killed"
