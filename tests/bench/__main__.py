"""`make bench`: every figure of the README and every limit that edgesync promises, from one command.

    python -m tests.bench              all; the table on standard output, build/bench/report.md and report.json
    python -m tests.bench link kill    some of them
    python -m tests.bench --list

Exit status 1 if a limit is broken or a benchmark failed. What this machine cannot run is named and left out; with
EDGESYNC_REQUIRE_ALL=1 that is a failure too. docs/benchmarks.md says how each figure is measured.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from edgesync.wire.errors import EdgesyncError
from tests.bench import report
from tests.bench.measure import BenchError, Figure, MissingPart, Workshop, shown
from tests.bench.report import Outcome

NAMES = (
    "link",
    "kill",
    "manners",
    "memory",
    "telemetry",
    "lake",
    "notebooks",
    "delta",
    "scale",
    "config",
    "change",
    "storm",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what edgesync promises.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--directory", type=Path, default=Path("build/bench"), metavar="DIR", help="for the reports")
    parser.add_argument(
        "--images", type=Path, default=Path("build/demo/images"), metavar="DIR", help="where the demo's firmware is"
    )
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(NAMES)):
        parser.error(f"NAME: found {unknown[0]!r}, expected one of {', '.join(NAMES)}")
    if args.list:
        print("\n".join(f"{name:8} {_purpose(name)}" for name in NAMES))
        return 0
    directory = args.directory.absolute()
    work = directory / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    workshop = Workshop(work, args.images.absolute(), _say)
    machine = _machine()
    outcomes = []
    for name in args.names or NAMES:
        outcomes.append(_run(name, workshop))
        report.write(directory, outcomes, machine)
    print(report.markdown(outcomes, machine))
    print(f"{directory}/report.md, {directory}/report.json")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _run(name: str, workshop: Workshop) -> Outcome:
    """One benchmark, whatever becomes of it."""
    _say(f"--- {name}: {_purpose(name)}")
    figures: list[Figure] = []
    problem, failed = "", False
    try:
        for figure in importlib.import_module(f"tests.bench.{name}").run(workshop):
            _say(f"{figure.name}: {shown(figure.value, figure.unit)}{'' if figure.ok else '  LIMIT BROKEN'}")
            figures.append(figure)
    except MissingPart as missing:
        problem, failed = str(missing), os.environ.get("EDGESYNC_REQUIRE_ALL") == "1"
    except (BenchError, EdgesyncError, OSError, subprocess.SubprocessError) as error:
        traceback.print_exc()
        problem, failed = f"{type(error).__name__}: {error}", True
    if problem:
        _say(f"{'failed' if failed else 'not measured'}: {problem}")
    return Outcome(name, _purpose(name), figures, problem, failed)


def _purpose(name: str) -> str:
    """The first sentence of the benchmark's docstring."""
    text = importlib.import_module(f"tests.bench.{name}").__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


def _machine() -> dict[str, str]:
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "commit": git.stdout.strip() or "unknown",
        "Python": platform.python_version(),
        "kernel": platform.release(),
        "cores": str(os.cpu_count()),
        "architecture": platform.machine(),
    }


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
