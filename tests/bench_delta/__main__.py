"""`make bench-delta`: edgesync's deltas and those of every peer on the same pairs, in one run.

Writes report.md, results.json and chart.svg into the output directory. Every patch is applied, and the result compared
with the new image. Exit status 1 when a peer's patch is smaller than ours, or ours does not give the image.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench_delta import chart, pairs, report
from tests.bench_delta.measure import ROOT, CommandFailedError
from tests.bench_delta.peers import OWN, Peer, all_peers
from tests.bench_delta.report import Result, Run


def main(arguments: Sequence[str] | None = None) -> int:
    peers = {peer.name: peer for peer in all_peers()}
    parser = argparse.ArgumentParser(prog="python -m tests.bench_delta", description=__doc__)
    parser.add_argument(
        "--pairs",
        nargs="*",
        metavar="PAIR",
        choices=[*pairs.names(), *pairs.HEAVY],
        help=f"of {', '.join(pairs.names())}; only if asked for: {', '.join(pairs.HEAVY)}",
    )
    parser.add_argument("--peers", nargs="*", metavar="PEER", choices=list(peers), help=f"of {', '.join(peers)}")
    parser.add_argument(
        "--own", nargs=2, type=Path, action="append", default=[], metavar=("OLD", "NEW"), help="images of your own"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench-delta"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what the last run found for the same images and versions"
    )
    parser.add_argument("--docs", action="store_true", help="put tables and chart into docs/ and README.md too")
    args = parser.parse_args(arguments)

    wanted = pairs.names() if args.pairs is None and not args.own else args.pairs or []
    chosen = [peer for name, peer in peers.items() if args.peers is None or name in (*args.peers, *OWN)]
    place = args.out.absolute()
    measured = pairs.prepare(place / "pairs", wanted, lambda what, done, total: _tell(f"{what} ({done} of {total} B)"))
    measured += [
        pairs.Pair(new.name, "your own", open=False, old=old.absolute(), new=new.absolute()) for old, new in args.own
    ]
    done = Run(platform.machine(), platform.python_version(), chosen, measured, results := [])
    kept = report.kept(done, (place / "results.json").read_text()) if args.resume else []
    for pair in measured:
        for peer in chosen:
            if not peer.missing:
                old = [result for result in kept if (result.pair, result.peer) == (pair.name, peer.name)]
                results.append(old[0] if old else _measure(pair, peer, place))
                _tell(f"{pair.name:16} {peer.name:14} {report.line(results[-1])}")
                (place / "results.json").write_text(json.dumps(done.to_dict(), indent=2) + "\n")
    (place / "report.md").write_text(report.markdown(done))
    (place / "chart.svg").write_text(chart.svg(done))
    if args.docs:
        _document(done)
    print(report.markdown(done))
    return 1 if report.failures(done) else 0


def _document(done: Run) -> None:
    """Into every document that has the lines for it, so that no table there comes from anywhere else."""
    (ROOT / "docs" / "delta-benchmark.svg").write_text(chart.svg(done))
    blocks = {"bench-delta": report.markdown(done), "bench-delta summary": report.summary(done)}
    for path in (ROOT / "README.md", ROOT / "docs" / "delta-benchmark.md"):
        text = path.read_text()
        for name, block in blocks.items():
            if f"<!-- {name} -->" in text:
                text = report.insert(text, name, block)
        path.write_text(text)


def _measure(pair: pairs.Pair, peer: Peer, place: Path) -> Result:
    directory = Path(tempfile.mkdtemp(dir=place, prefix="run-"))
    try:
        patch, built = directory / "patch", directory / "built"
        length, make = peer.make(pair.old, pair.new, patch, directory)
        apply = peer.apply(pair.old, patch, built, directory)
        right = filecmp.cmp(built, pair.new, shallow=False)
        return Result(pair.name, peer.name, length, make, apply, "" if right else "the result is another image")
    except (CommandFailedError, OSError) as error:
        return Result(pair.name, peer.name, None, None, None, str(error))
    finally:
        shutil.rmtree(directory)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
