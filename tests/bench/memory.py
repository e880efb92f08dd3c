"""How much memory a board gives: the resident agent while it fetches over mTLS, and each short-lived worker, for the
demo's images of 15 MB and for one of 1 GiB.

The agent is read from /proc five times a second from its start to its reboot (VmRSS as it fetches, VmHWM for the peak).
A worker's peak is the kernel's account of a process that was reaped, read by the process that started it: it misses no
moment, however short the worker lived. The 1 GiB images are made up: a delta of segments of which every eighth is as
heavy as the format allows, and a full image that fills the decoder's dictionary.
"""

from __future__ import annotations

import compileall
import hashlib
import json
import lzma
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import edgesync
from edgesync.delta.full import DICTIONARY, make_full
from edgesync.delta.mixing import available as mixing_available
from edgesync.sim import profiles
from edgesync.trust import director, keys
from edgesync.wire.ids import BlobId, device_id, digest_of
from edgesync.wire.messages import Desired, Phase, Reported, Source, Target
from tests.bench.fleet import Fleet
from tests.bench.measure import MIB, BenchError, Figure, Workshop, sha256, taken_by
from tests.delta.delta_parts import GIB, write_big_delta

RESIDENT_LIMIT = 30 * MIB
WORKER_LIMIT = 64 * MIB
LINK = "lte-256k"
UPDATE_LIMIT = 300.0
"""Seconds from the push to the confirmed board."""
SAMPLE_EVERY = 0.2
YEAR = 365 * 86400


def run(workshop: Workshop) -> Iterator[Figure]:
    yield from _resident(workshop)
    yield from _trust(workshop)
    yield from _apply_demo(workshop)
    yield from _apply_gib(workshop)


# --- the resident ---------------------------------------------------------------------------------------------------


def _resident(workshop: Workshop) -> Iterator[Figure]:
    board = "b01"
    # As an installed package is: without bytecode an agent compiles itself at each start, which costs a MiB for good.
    compileall.compile_dir(edgesync.__path__[0], quiet=1)
    with Fleet(workshop, "resident", {board: profiles.load(LINK)}) as fleet:
        pid, fetching, peak = fleet.agent(board), [0], 0
        _configure(fleet, board)
        fleet.push()
        end = time.monotonic() + UPDATE_LIMIT
        while "applying > activating" not in (log := fleet.log(board)) and time.monotonic() < end:
            now, peak = _status(pid, "VmRSS"), _status(pid, "VmHWM")
            if "idle > fetching" in log and "fetching > applying" not in log:
                fetching.append(now)
            time.sleep(SAMPLE_EVERY)
        if len(fetching) < 10:
            raise BenchError(f"the fetch was seen {len(fetching) - 1} times only; see {fleet.lab.log(board)}")
        conditions = f"mTLS, {LINK}, config of 50 files in use, blob of {fleet.blob_length(board)} bytes"
        yield Figure("agent while it fetches", max(fetching), "bytes", f"VmRSS, {conditions}", RESIDENT_LIMIT)
        yield Figure("agent at its peak", peak, "bytes", f"VmHWM, {conditions}", RESIDENT_LIMIT)


def _configure(fleet: Fleet, board: str) -> None:
    """Let the board take a whole bundle, and then a delta."""
    for count in (1, 2):
        fleet.configure({f"app/{n}.conf": f"speed = {n * count}\n" * 50 for n in range(50)}, "Configure")
        end = time.monotonic() + UPDATE_LIMIT
        while fleet.log(board).count("config is idle, was probing") < count:
            if time.monotonic() > end:
                raise BenchError(f"the config did not come; see {fleet.lab.log(board)}")
            time.sleep(SAMPLE_EVERY)


def _status(pid: int, key: str) -> int:
    """Bytes. Raises OSError when the process is gone, which it must not be."""
    found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if not found:
        raise BenchError(f"process {pid} has ended")
    return int(found[1]) * 1024


# --- the workers ----------------------------------------------------------------------------------------------------


def _worker(name: str, conditions: str, **spec: Any) -> Figure:
    taken = taken_by([sys.executable, "-m", "tests.bench.call", json.dumps(spec)])
    return Figure(name, taken.peak, "bytes", conditions, WORKER_LIMIT)


def _trust(workshop: Workshop) -> Iterator[Figure]:
    room, device, end = workshop.room("trust"), device_id("bench", "b01"), int(time.time()) + YEAR
    public = keys.generate(str(room / "director.key"))
    for name in ("root.key", "board.key"):
        keys.generate(str(room / name))
    root = director.create_root(public, keys.load_signer(str(room / "root.key")), end)
    (room / "root.json").write_bytes(root)
    old, new, commit = (digest_of(name) for name in (b"old", b"new", b"commit"))
    source = Source("delta", BlobId(commit[:32]), 400_000, old)
    target = Target("firmware", "v2", 15_000_000, new, source)
    desired = Desired(device, 1, commit[:40], commit[-12:], "v2", (target,))
    packed = director.sign_desired(desired, keys.load_signer(str(room / "director.key")), end)
    (room / "message").write_bytes(packed)
    paths = {name: str(room / file) for name, file in {"message": "message", "root": "root.json"}.items()}
    yield _worker("verify worker", f"desired of {len(packed)} bytes", op="verify", device=device, **paths)
    reported = Reported(device, 1, "boot", "a", True, {"firmware": old}, Phase.IDLE)
    yield _worker("sign worker", "a report", op="sign", reported=reported.to_dict(), key=str(room / "board.key"))


def _apply_demo(workshop: Workshop) -> Iterator[Figure]:
    room, new = workshop.room("apply"), workshop.image("demo-v2")
    base = workshop.image("demo-v1")
    blob, _ = workshop.delta("demo-v1", "demo-v2")
    spec = {"op": "apply", "target": str(room / "target"), "length": new.stat().st_size, "sha256": sha256(new)}
    conditions = f"image of {new.stat().st_size} bytes"
    of_delta = {"kind": "delta", "base": str(base), "base_sha256": sha256(base), "blob": str(blob)}
    yield _worker("apply worker, delta, 15 MB", conditions, **spec, **of_delta)
    (room / "target").unlink()
    workshop.say("compressing a full image")
    make_full(str(new), str(room / "full"))
    yield _worker("apply worker, full image, 15 MB", conditions, **spec, kind="full", blob=str(room / "full"))


def _apply_gib(workshop: Workshop) -> Iterator[Figure]:
    room = workshop.room("gib")
    spec: dict[str, Any] = {"op": "apply", "target": str(room / "target"), "length": GIB}
    conditions = "image of 1 GiB"
    for mixing in (False, True) if mixing_available() else (False,):
        name = "mixed delta" if mixing else "delta"
        workshop.say(f"writing a {name} of 1 GiB, segment by segment")
        base, result = write_big_delta(room, GIB, mixing=mixing)
        of_delta = {"kind": "delta", "base": str(room / "base"), "base_sha256": base, "blob": str(room / "blob")}
        yield _worker(f"apply worker, {name}, 1 GiB", conditions, **spec, **of_delta, sha256=result)
        (room / "target").unlink()
    workshop.say("compressing a full image of 1 GiB")
    digest = _write_full(room / "full", GIB)
    yield _worker(
        "apply worker, full image, 1 GiB", conditions, **spec, kind="full", blob=str(room / "full"), sha256=digest
    )
    (room / "target").unlink()


def _write_full(path: Path, length: int) -> str:
    """A full image as `edgesync.delta.full` makes them, at a speed that a benchmark has time for; its SHA-256."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": DICTIONARY}]
    encoder, digest = lzma.LZMACompressor(format=lzma.FORMAT_XZ, filters=filters), hashlib.sha256()
    part = np.random.default_rng(15).bytes(MIB)
    with path.open("wb") as out:
        for _ in range(length // MIB):
            digest.update(part)
            out.write(encoder.compress(part))
        out.write(encoder.flush())
    return digest.hexdigest()
