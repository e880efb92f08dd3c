"""Bytes of a rollout by purpose, over kills, restarts and files that are spoilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent.ledger import Ledger
from edgesync.wire.messages import Traffic

AMOUNTS = st.integers(0, 1 << 30)


def reopened(state: Path) -> Ledger:
    return Ledger(str(state))


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin("r1")
    ledger.add(blob=10, refetched=2, metadata=3, reported=4)
    ledger.tcp((100, 50))
    ledger.save()
    again = reopened(tmp_path)
    assert (again.rollout, again.traffic) == ("r1", Traffic(10, 2, 3, 4, 100, 50))


def test_a_kill_loses_what_was_not_saved_and_nothing_else(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin("r1")
    ledger.add(blob=10)
    ledger.save()
    ledger.add(blob=5)
    again = reopened(tmp_path)
    assert again.traffic.blob == 10
    again.begin("r1")
    assert again.traffic.blob == 10, "the rollout goes on"


def test_another_rollout_begins_at_nothing_also_after_a_kill(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin("r1")
    ledger.add(blob=10)
    ledger.begin("r2")
    assert ledger.traffic == Traffic()
    assert (reopened(tmp_path).rollout, reopened(tmp_path).traffic) == ("r2", Traffic())


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS)))
def test_tcp_counts_what_each_look_adds_and_never_less(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("ledger")))
    inward = outward = 0
    for more_in, more_out in steps:
        inward, outward = inward + more_in, outward + more_out
        ledger.tcp((inward, outward))
    assert (ledger.traffic.tcp_in, ledger.traffic.tcp_out) == (inward, outward)
    ledger.tcp((0, 0))
    ledger.tcp((7, 7))
    assert (ledger.traffic.tcp_in, ledger.traffic.tcp_out) == (inward + 7, outward + 7)


@given(st.lists(st.tuples(AMOUNTS, st.integers(-(1 << 31), 1 << 31), st.booleans())))
def test_no_count_is_ever_below_zero(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("ledger")))
    for number, (blob, refetched, another) in enumerate(steps):
        if another:
            ledger.begin(f"r{number}")
        ledger.add(blob=blob, refetched=refetched)
        assert min(ledger.traffic.to_dict().values()) >= 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 200,
        b"{",
        b"[]",
        b"{}",
        b'{"rollout":7,"traffic":{}}',
        b'{"rollout":"r1"',
        b'{"rollout":"r1","traffic":{"blob":-1}}',
        b'{"rollout":"r1","traffic":[]}',
        b'{"rollout":"r1","traffic":{"blob":"x"}}',
        b'{"rollout":"' + b"x" * 5000 + b'"}',
    ],
)
def test_a_spoilt_file_costs_the_figures_and_not_the_agent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "traffic.json").write_bytes(content)
    ledger = Ledger(str(tmp_path))
    assert ledger.traffic == Traffic()
    ledger.begin("r2")
    ledger.add(blob=1)
    ledger.save()
    assert (reopened(tmp_path).rollout, reopened(tmp_path).traffic.blob) == ("r2", 1)


@pytest.mark.parametrize("call", ["os.replace", "builtins.open"])
def test_a_disk_that_fails_does_not_stop_an_update_over_its_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin("r1")
    ledger.add(blob=1)
    ledger.save()

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(call, failing)
        ledger.add(blob=1)
        ledger.save()
        ledger.begin("r2")
    assert json.loads((tmp_path / "traffic.json").read_bytes())["traffic"]["blob"] == 1
    ledger.save()
    assert reopened(tmp_path).rollout == "r2"


def test_a_state_directory_that_is_gone_does_not_end_the_agent(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "missing"))
    ledger.begin("r1")
    ledger.save()
