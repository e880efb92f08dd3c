"""casync as a peer: what a board that holds the old image fetches is the new index and the chunks that it lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.bench_delta.measure import Took, run

INDEX = "new.caibx"


def _make(old: Path, new: Path, patch: Path, directory: Path) -> tuple[int, Took]:
    """`patch` becomes a directory: the index, and a store of the missing chunks."""
    held, full = directory / "held.castr", directory / "full.castr"
    run(["casync", "make", f"--store={held}", str(directory / "old.caibx"), str(old)], directory)
    patch.mkdir()
    took = run(["casync", "make", f"--store={full}", str(patch / INDEX), str(new)], directory)
    missing = _chunks(full) - _chunks(held)
    for chunk in missing:
        place = patch / "missing.castr" / chunk
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(full / chunk, place)
    length = (patch / INDEX).stat().st_size + sum((full / chunk).stat().st_size for chunk in missing)
    shutil.rmtree(held)
    shutil.rmtree(full)
    return length, took


def _apply(old: Path, patch: Path, out: Path, directory: Path) -> Took:
    (patch / "missing.castr").mkdir(exist_ok=True)
    sources = [f"--store={patch / 'missing.castr'}", f"--seed={old}"]
    return run(["casync", "extract", *sources, "--seed-output=no", str(patch / INDEX), str(out)], directory)


def _chunks(store: Path) -> set[Path]:
    return {path.relative_to(store) for path in store.rglob("*.cacnk")}


CALLS = (_make, _apply)
