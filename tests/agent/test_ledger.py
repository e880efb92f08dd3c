"""Bytes of a rollout by purpose, over kills, restarts and files that are spoilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent import ledger as module
from edgesync.agent.ledger import Ledger
from edgesync.agent.month import Month, begin_of, end_of
from edgesync.host.tcp import Carried
from edgesync.wire.errors import DiskFullError
from edgesync.wire.messages import Traffic

AMOUNTS = st.integers(0, 1 << 30)
NOW = 1_796_000_000
"""Seconds: late in November 2026."""


def reopened(state: Path) -> Ledger:
    return Ledger(str(state))


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin("r1")
    ledger.add(blob=10, refetched=2, metadata=3, reported=4)
    ledger.look(Carried(100, 50, 400), NOW)
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
        ledger.look(Carried(inward, outward), NOW)
    assert (ledger.traffic.tcp_in, ledger.traffic.tcp_out) == (inward, outward)
    ledger.look(Carried(), NOW)
    ledger.look(Carried(7, 7), NOW)
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
    assert ledger.rollout == "r1"
    assert not (tmp_path / "missing").exists()


# --- the month ------------------------------------------------------------------------------------------------------


def test_a_power_cut_loses_of_the_month_what_one_piece_carries_and_the_disk_is_written_as_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    write = module.write_atomic
    monkeypatch.setattr(module, "write_atomic", lambda *args: (writes.append(args[0]), write(*args)))
    ledger, step = Ledger(str(tmp_path)), 700
    for number in range(1, 500):
        ledger.look(Carried(total=number * step), NOW + number)
        assert 0 <= ledger.month.total - reopened(tmp_path).month.total < module.MONTH_BYTES
    assert len(writes) <= 2 + 500 * step // module.MONTH_BYTES


def test_an_idle_link_is_saved_once_an_hour(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.look(Carried(total=100), NOW)
    ledger.look(Carried(total=200), NOW + module.MONTH_SECONDS - 1)
    assert reopened(tmp_path).month.total == 100
    ledger.look(Carried(total=300), NOW + module.MONTH_SECONDS)
    assert reopened(tmp_path).month.total == 300


def test_a_stop_that_was_asked_for_loses_nothing_of_the_month(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.look(Carried(total=100), NOW)
    ledger.add(blob=60, metadata=5, reported=7)
    ledger.add_config(9)
    ledger.add_elsewhere(1000)
    ledger.close(Carried(total=110), NOW)
    assert reopened(tmp_path).month == Month(begin_of(NOW), 1110, 60, 0, 5, 7, 9)


def test_the_month_goes_on_over_rollouts_and_begins_at_nothing_when_it_turns(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.look(Carried(total=100), NOW)
    ledger.begin("r2")
    assert ledger.month.total == 100
    turn = end_of(NOW)
    ledger.look(Carried(total=130), turn - 1)
    assert ledger.month.total == 130
    ledger.look(Carried(total=150), turn)
    assert ledger.month == Month(turn, 20)
    assert reopened(tmp_path).month == Month(turn, 20), "a turn is saved at once"


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"[]", b'{"total":-1}', b'{"begin":"x"}', b"{" * 5000])
def test_a_spoilt_month_costs_the_count_and_not_the_agent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "month.json").write_bytes(content)
    ledger = Ledger(str(tmp_path))
    assert ledger.month == Month()
    ledger.close(Carried(total=7), NOW)
    assert reopened(tmp_path).month == Month(begin_of(NOW), 7)


def test_a_disk_that_refuses_the_month_is_not_asked_for_each_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def failing(*args: Any) -> None:
        asked.append(args)
        raise DiskFullError("month.json")

    monkeypatch.setattr(module, "write_atomic", failing)
    ledger = Ledger(str(tmp_path))
    for number in range(100):
        ledger.look(Carried(total=number * 100), NOW)
    assert len(asked) == 1
    assert ledger.month.total == 9900
