"""The benchmark of deltas: what it runs is really run and compared, and what it must fail for fails it."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench_delta import __main__ as bench
from tests.bench_delta import chart, measure, pairs, peers, report
from tests.bench_delta.measure import Took
from tests.bench_delta.peers import LZMA, OURS
from tests.bench_delta.report import Result, Run

TOOK = Took(1.0, 0.5, 40 << 20, 2.0)


def run_of(tmp_path: Path, **lengths: int | None) -> Run:
    """A run on one open pair, with these bytes by peer; None for a wrong result."""
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new image")
    pair = pairs.Pair("p", "code", open=True, old=tmp_path / "old", new=tmp_path / "new")
    results = [Result("p", name, size, TOOK, TOOK, "" if size else "wrong") for name, size in lengths.items()]
    return Run("arm", "3", [peer for peer in peers.all_peers() if peer.name in lengths], [pair], results)


def test_a_small_pair_is_measured_with_the_peers_that_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = random.Random(1).randbytes(200_000)
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(old[:90_000] + random.Random(3).randbytes(4000) + old[90_000:])
    own = ["--own", str(tmp_path / "old"), str(tmp_path / "new")]
    assert bench.main([*own, "--peers", "bsdiff4", "xz-full", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    by_peer = {result["peer"]: result for result in found["results"]}
    wanted = {OURS, LZMA, "bsdiff4", "xz-full"} - set(found["missing"])
    assert set(by_peer) == wanted
    assert all(result["error"] == "" and result["make"]["cpu"] > 0 for result in by_peer.values())
    assert 4000 < by_peer[OURS]["bytes"] < 5000
    assert by_peer[OURS]["apply"]["work"] < by_peer[OURS]["apply"]["cpu"]
    assert 20 << 20 < by_peer[OURS]["apply"]["peak"] < 64 << 20
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "chart.svg",
        "pairs",
        "report.md",
        "results.json",
    ]
    assert "| new | 204,000 |" in capsys.readouterr().out


@pytest.mark.parametrize("peer", [peer for peer in peers.all_peers() if not peer.missing], ids=lambda peer: peer.name)
def test_every_peer_that_is_here_gives_the_image_back(peer: peers.Peer, tmp_path: Path):
    old = random.Random(2).randbytes(300_000)
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(old[100_000:] + b"new" + old[:50_000])
    pair = pairs.Pair("p", "", open=False, old=tmp_path / "old", new=tmp_path / "new")
    result = bench._measure(pair, peer, tmp_path)
    assert result.error == ""
    assert 0 < (result.length or 0) < 300_000


def test_the_run_fails_when_a_peer_is_smaller_or_ours_is_wrong(tmp_path: Path):
    assert not report.failures(run_of(tmp_path, edgesync=100, bsdiff4=100))
    assert report.failures(run_of(tmp_path, edgesync=101, bsdiff4=100)) == ["p: edgesync 101 bytes, bsdiff4 100"]
    assert report.failures(run_of(tmp_path, edgesync=None, bsdiff4=100)) == ["p: edgesync: wrong"]
    assert not report.failures(run_of(tmp_path, **{"edgesync": 100, "xz-full": 50}))
    both = run_of(tmp_path, **{"edgesync": 90, "edgesync-lzma": 101, "bsdiff4": 100})
    assert report.failures(both) == ["p: edgesync-lzma 101 bytes, bsdiff4 100"]
    assert both.best("p") == ("bsdiff4", 100)


def test_a_missing_peer_is_named_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    text = report.markdown(run_of(tmp_path, edgesync=25, bsdiff4=100, xdelta3=None, casync=None))
    assert "- casync: missing here; apt-get install casync" in text
    assert "- xdelta3: missing here; apt-get install xdelta3" in text
    assert "-75 % (bsdiff4)" in text
    assert "Median of the open pairs: -75 % against the best peer (1 of 5)." in text


def test_the_chart_is_well_formed_and_has_a_dot_for_every_result(tmp_path: Path):
    drawn = ET.fromstring(chart.svg(run_of(tmp_path, edgesync=1234, bsdiff4=56789)))
    titles = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert "p, edgesync: 1,234 bytes" in titles
    assert "p, bsdiff4: 56,789 bytes" in titles
    assert ET.fromstring(chart.svg(run_of(tmp_path))) is not None


def test_a_table_is_put_between_its_lines_again_and_again(tmp_path: Path):
    text = "before\n<!-- t -->\nold\n<!-- end of t -->\nafter\n"
    once = report.insert(
        text, "t", report.summary(run_of(tmp_path, **{"edgesync": 50, "edgesync-lzma": 60, "bsdiff4": 100}))
    )
    assert "| p (code) | 9 | 50 | 60 | 100 bsdiff4 | -50 % |" in once
    assert report.insert(once, "t", "old") == text.replace("\nold\n", "\n\nold\n\n")
    with pytest.raises(ValueError, match="end of t"):
        report.insert("<!-- t -->\n", "t", "x")


def test_a_command_that_fails_says_why(tmp_path: Path):
    with pytest.raises(measure.CommandFailedError, match="status 3: out of luck"):
        measure.run(["sh", "-c", "echo out of luck >&2; exit 3"], tmp_path)


def test_the_figures_are_of_the_command_and_not_of_its_parent(tmp_path: Path):
    ballast = bytearray(200 << 20)
    took = measure.run(["sh", "-c", "exit 0"], tmp_path)
    assert took.peak < 20 << 20 < len(ballast)


def test_pairs_are_pinned_whole():
    assert len(pairs.names()) == len(set(pairs.names())) == 9
    for pair in pairs._pins()["pair"]:
        for side in (pair["old"], pair["new"]):
            assert len(side["sha256"]) == len(side["member_sha256"]) == 64


def test_a_run_that_is_resumed_keeps_what_was_measured_on_the_same_images_with_the_same_versions(tmp_path: Path):
    run = run_of(tmp_path, edgesync=100, bsdiff4=120, detools=None)
    commit, changed = (replace(run.peers[0], how=f"commit abc{more}") for more in ("", "-dirty"))
    run = replace(run, peers=[commit, *run.peers[1:]])
    assert [result.peer for result in report.kept(run, json.dumps(run.to_dict()))] == [OURS, "bsdiff4"]
    run = replace(run, peers=[changed, *run.peers[1:]])
    text = json.dumps(run.to_dict())
    assert [(result.peer, result.make) for result in report.kept(run, text)] == [("bsdiff4", TOOK)]
    assert report.kept(run, text.replace(f'"{run.peers[1].how}"', '"another version"')) == []
    assert report.kept(run, text.replace('"python": "3"', '"python": "4"')) == []
    (tmp_path / "new").write_bytes(b"another")
    assert report.kept(run, text) == []
