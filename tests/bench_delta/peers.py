"""The peers: how each makes and applies a patch, as strongly as it can, and what is missing where it cannot run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import edgesync
from edgesync.delta import mixing
from tests.bench_delta import casync
from tests.bench_delta.measure import ROOT, Took, run

Make = Callable[[Path, Path, Path, Path], tuple[int, Took]]
"""Old, new, patch, directory to work in: bytes of the patch, and what it took."""
Apply = Callable[[Path, Path, Path, Path], Took]
"""Old, patch, result, directory to work in."""

OURS = "edgesync"
LZMA = "edgesync-lzma"
"""Ours for boards without the context-mixing coder."""
OWN = (OURS, LZMA)
FULL = "xz-full"


@dataclass(frozen=True, slots=True)
class Peer:
    """`how` is its version and settings, for the report; `install` how to get it."""

    name: str
    how: str
    missing: bool
    install: str
    make: Make
    apply: Apply


def all_peers() -> list[Peer]:
    """Ours first; those that are missing too."""
    return [
        _ours(OURS, "with the context-mixing coder", missing=not mixing.available()),
        _ours(LZMA, "for every board", missing=False),
        _python("bsdiff4", _version("bsdiff4"), "bzip2 inside"),
        _python("hdiffpatch", _version("hdiffpatch"), "lzma2 level 9"),
        _python("detools", _version("detools"), "sequential, bsdiff, lzma"),
        _python("detools-hdiff", _version("detools"), "hdiffpatch type, lzma"),
        _program("xdelta3", ["-V"], "-9 -S lzma -I 0, the whole old image as source", _xdelta_make, _xdelta_apply),
        _program("zstd", ["--version"], "--ultra -22 --long=27 --patch-from", _zstd_make, _zstd_apply),
        _program("casync", ["--version"], "default chunks; the index and what the store lacks", *casync.CALLS),
        _program("xz", ["--version"], "-9e, the whole new image", _xz_make, _xz_apply, name=FULL),
    ]


def _ours(name: str, how: str, *, missing: bool) -> Peer:
    return _python(name, "" if missing else edgesync.__version__, f"the delta engine{_commit()}, {how}")


def _commit() -> str:
    """The commit that is measured, "" outside of a repository."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        run = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" at commit {run.stdout.strip()}"


def _version(package: str) -> str:
    """Of an installed package, "" for one that is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _python(name: str, number: str, how: str) -> Peer:
    def make(old: Path, new: Path, patch: Path, directory: Path) -> tuple[int, Took]:
        took = run([*_tool(name, "make"), str(old), str(new), str(patch)], directory)
        return patch.stat().st_size, took

    def apply(old: Path, patch: Path, out: Path, directory: Path) -> Took:
        return run([*_tool(name, "apply"), str(old), str(patch), str(out)], directory)

    return Peer(name, f"{number}, {how}", not number, "pip install edgesync[bench]", make, apply)


def _tool(name: str, verb: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench_delta.tool", name, verb]


def _program(program: str, ask: list[str], how: str, make: Make, apply: Apply, *, name: str = "") -> Peer:
    missing = shutil.which(program) is None
    said = "" if missing else subprocess.run([program, *ask], capture_output=True, text=True, check=False, timeout=30)
    words = (said.stdout + said.stderr).split() if said else []
    number = next((word.strip("v*,") for word in words if word.strip("v*,")[:1].isdigit()), "")
    return Peer(name or program, f"{number} {how}".strip(), missing, f"apt-get install {program}", make, apply)


def _xdelta_make(old: Path, new: Path, patch: Path, directory: Path) -> tuple[int, Took]:
    window = str(max(old.stat().st_size, 1 << 19))
    strongest = ["-9", "-S", "lzma", "-I", "0"]
    took = run(["xdelta3", "-e", *strongest, "-B", window, "-f", "-s", str(old), str(new), str(patch)], directory)
    return patch.stat().st_size, took


def _xdelta_apply(old: Path, patch: Path, out: Path, directory: Path) -> Took:
    window = str(max(old.stat().st_size, 1 << 19))
    return run(["xdelta3", "-d", "-B", window, "-f", "-s", str(old), str(patch), str(out)], directory)


def _zstd_make(old: Path, new: Path, patch: Path, directory: Path) -> tuple[int, Took]:
    strongest = ["--ultra", "-22", "--long=27"]
    took = run(["zstd", "-q", "-f", *strongest, f"--patch-from={old}", str(new), "-o", str(patch)], directory)
    return patch.stat().st_size, took


def _zstd_apply(old: Path, patch: Path, out: Path, directory: Path) -> Took:
    return run(["zstd", "-q", "-f", "-d", "--long=27", f"--patch-from={old}", str(patch), "-o", str(out)], directory)


def _xz_make(_old: Path, new: Path, patch: Path, directory: Path) -> tuple[int, Took]:
    took = run(["xz", "-9e", "-T1", "-c", str(new)], directory, patch)
    return patch.stat().st_size, took


def _xz_apply(_old: Path, patch: Path, out: Path, directory: Path) -> Took:
    return run(["xz", "-dc", str(patch)], directory, out)
