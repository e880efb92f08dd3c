"""The figures of one run: as JSON, as tables for the docs, and what fails."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench_delta.measure import Took
from tests.bench_delta.pairs import Pair
from tests.bench_delta.peers import FULL, LZMA, OURS, OWN, Peer

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """One peer on one pair: bytes of the patch, what making and applying took; `error` is "" for a right result."""

    pair: str
    peer: str
    length: int | None
    make: Took | None
    apply: Took | None
    error: str

    def to_dict(self) -> dict[str, object]:
        took = {
            name: value.to_dict() if value else None for name, value in (("make", self.make), ("apply", self.apply))
        }
        return {"pair": self.pair, "peer": self.peer, "bytes": self.length, **took, "error": self.error}

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Result:
        make, apply = (Took(**value[name]) if value[name] else None for name in ("make", "apply"))
        return Result(value["pair"], value["peer"], value["bytes"], make, apply, value["error"])


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that one run found."""

    machine: str
    python: str
    peers: Sequence[Peer]
    pairs: Sequence[Pair]
    results: Sequence[Result]

    def of(self, pair: str) -> dict[str, Result]:
        """The right results of a pair by peer."""
        return {result.peer: result for result in self.results if result.pair == pair and not result.error}

    def best(self, pair: str) -> tuple[str, int] | None:
        """The smallest patch of a peer on a pair."""
        found = [(result.length or 0, name) for name, result in self.of(pair).items() if name not in (*OWN, FULL)]
        return (min(found)[1], min(found)[0]) if found else None

    def to_dict(self) -> dict[str, object]:
        return {
            "machine": self.machine,
            "python": self.python,
            "peers": {peer.name: peer.how for peer in self.peers if not peer.missing},
            "missing": {peer.name: peer.install for peer in self.peers if peer.missing},
            "pairs": {
                pair.name: {
                    "code": pair.code,
                    "open": pair.open,
                    "old_bytes": pair.old.stat().st_size,
                    "new_bytes": pair.new.stat().st_size,
                    "sha256": pair.sha256,
                }
                for pair in self.pairs
            },
            "results": [result.to_dict() for result in self.results],
            "failures": failures(self),
        }


def kept(run: Run, text: str) -> list[Result]:
    """The right results in the JSON of an earlier run, on the same machine with the same images and versions. Ours are
    kept for the same commit, if nothing was changed since.
    """
    old = json.loads(text)
    here = run.to_dict()
    if any(old[key] != here[key] for key in ("machine", "python")):
        return []
    hows = {peer.name: peer.how for peer in run.peers}
    digests = {pair.name: pair.sha256 for pair in run.pairs}
    return [
        Result.from_dict(result)
        for result in old["results"]
        if not result["error"]
        and not str(hows.get(result["peer"])).endswith("-dirty")
        and old["peers"].get(result["peer"]) == hows.get(result["peer"])
        and old["pairs"][result["pair"]]["sha256"] == digests.get(result["pair"])
    ]


def line(result: Result) -> str:
    """One result in a line of a log."""
    if result.error or not result.make or not result.apply:
        return f"failed: {result.error}"
    return f"{result.length:>10} B  make {_took(result.make)}  apply {_took(result.apply)}"


def failures(run: Run) -> list[str]:
    """What makes the run fail: each pair on which one of ours is not right, or a peer's is smaller."""
    found = [
        f"{result.pair}: {result.peer}: {result.error}" for result in run.results if result.peer in OWN and result.error
    ]
    for pair in run.pairs:
        best = run.best(pair.name)
        found += [
            f"{pair.name}: {ours.peer} {ours.length} bytes, {best[0]} {best[1]}"
            for ours in filter(None, map(run.of(pair.name).get, OWN))
            if best and (ours.length or 0) > best[1]
        ]
    return found


def markdown(run: Run) -> str:
    """The report: sizes, costs, conditions."""
    shown = [peer for peer in run.peers if not peer.missing]
    rows = [["pair", "image B", *(peer.name for peer in shown), "against the best peer"]]
    for pair in run.pairs:
        found, best = run.of(pair.name), run.best(pair.name)
        sizes = [f"{found[peer.name].length:,}" if peer.name in found else "failed" for peer in shown]
        rows.append([pair.name, f"{pair.new.stat().st_size:,}", *sizes, _gain(run, pair.name) if best else ""])
    parts = ["### Bytes of the delta\n", _table(rows), _median(run)]
    for verb in ("make", "apply"):
        rows = [["pair", *(peer.name for peer in shown)]]
        for pair in run.pairs:
            found = run.of(pair.name)
            took = {name: getattr(result, verb) for name, result in found.items()}
            rows.append([pair.name, *(_took(took[peer.name]) if peer.name in took else "failed" for peer in shown)])
        parts += [f"### Cost to {verb}: CPU seconds / peak MB\n", _table(rows)]
    parts += ["### Limits of applying\n", _limits(run)]
    parts.append(
        f"Python {run.python} on {run.machine}. A Python peer's figures contain its interpreter and imports.\n"
    )
    parts += [f"- {peer.name}: {peer.how}" for peer in shown]
    parts += [f"- {peer.name}: missing here; {peer.install}" for peer in run.peers if peer.missing]
    parts += [f"- {result.pair}, {result.peer}: {result.error}" for result in run.results if result.error]
    parts += [f"- FAILED {failure}" for failure in failures(run)]
    return "\n".join(parts) + "\n"


def summary(run: Run) -> str:
    """The short table: ours and the best peer of each pair."""
    rows = [["pair", "image B", OURS, "for every board", "best peer", "against it", "full image, xz"]]
    for pair in run.pairs:
        found, best = run.of(pair.name), run.best(pair.name)
        ours, lzma, full = (found.get(name) for name in (OURS, LZMA, FULL))
        if (ours or lzma) and best:
            size = f"{full.length:,}" if full else ""
            gain = f"{100 * ratio:+.0f} %" if (ratio := _ratio(run, pair.name)) is not None else ""
            image = f"{pair.new.stat().st_size:,}"
            both = [f"{mine.length:,}" if mine else "" for mine in (ours, lzma)]
            rows.append([f"{pair.name} ({pair.code})", image, *both, f"{best[1]:,} {best[0]}", gain, size])
    return _table(rows) + "\n" + _median(run)


def insert(document: str, name: str, block: str) -> str:
    """The document with `block` between its lines `<!-- NAME -->` and `<!-- end of NAME -->`, which both stay.

    Raises ValueError for a document without them.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"found no lines {begin.strip()!r} and {end.strip()!r}, expected both")
    return f"{before}{begin}\n{block.strip()}\n\n{end}{after}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""])


def _took(took: Took) -> str:
    return f"{took.cpu:.2f} / {took.peak / MB:.0f}"


def _ratio(run: Run, pair: str, name: str = OURS) -> float | None:
    """Bytes of one of ours less those of the best peer, as a part of the latter."""
    ours, best = run.of(pair).get(name), run.best(pair)
    return (ours.length or 0) / best[1] - 1 if ours and best and best[1] else None


def _gain(run: Run, pair: str) -> str:
    ratio, best = _ratio(run, pair), run.best(pair)
    return f"{100 * ratio:+.0f} % ({best[0]})" if ratio is not None and best else "failed"


def _median(run: Run) -> str:
    said = []
    for name, what in ((OURS, "against the best peer"), (LZMA, "for every board")):
        ratios = [ratio for pair in run.pairs if pair.open and (ratio := _ratio(run, pair.name, name)) is not None]
        if ratios:
            said.append(f"{100 * statistics.median(ratios):+.0f} % {what} ({len(ratios)} of 5)")
    return f"Median of the open pairs: {'; '.join(said)}.\n" if said else ""


def _limits(run: Run) -> str:
    """Memory of ours, and its CPU time by bsdiff4's, both without imports."""
    rows = [["pair", "delta", "peak MiB (at most 64)", "CPU s without imports", "times bsdiff4's (at most 5)"]]
    for pair in run.pairs:
        found = run.of(pair.name)
        theirs = found["bsdiff4"].apply if "bsdiff4" in found else None
        for name in OWN:
            ours = found[name].apply if name in found else None
            if ours and ours.work is not None:
                times = f"{ours.work / theirs.work:.1f}" if theirs and theirs.work else ""
                rows.append([pair.name, name, f"{ours.peak / (1 << 20):.0f}", f"{ours.work:.2f}", times])
    return _table(rows)
