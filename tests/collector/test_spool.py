"""Messages that wait: in order, over a restart, within their bound, and the oldest are the ones that go."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector_ext import spool as module
from collector_ext.spool import Spool

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "send", "ask", "restart"]), st.integers(1, 40)), max_size=60
)


def drain(spool: Spool) -> list[bytes]:
    found = []
    while (message := spool.oldest()) is not None:
        found.append(message)
        spool.done(message)
    return found


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_messages_come_out_in_order_and_only_the_oldest_are_missing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MEMORY_BYTES", 60)
        place = tmp_path_factory.mktemp("spool")
        spool, number, out, dropped = Spool(place, 400), 0, [], 0
        for what, size in steps:
            match what:
                case "put":
                    number += 1
                    spool.put(b"%06d" % number + bytes(size))
                case "send":
                    if (message := spool.oldest()) is not None:
                        out.append(int(message[:6]))
                        spool.done(message)
                case "ask":
                    spool.oldest()
                case "restart":
                    spool.close()
                    dropped += spool.dropped
                    spool = Spool(place, 400)
        out += [int(message[:6]) for message in drain(spool)]
        dropped += spool.dropped
        assert out == sorted(out)
        assert len(set(range(1, number + 1)) - set(out)) <= dropped
        assert sum(path.stat().st_size for path in place.iterdir()) == 0
        assert not spool


def test_a_message_that_moved_to_the_disk_while_it_was_sent_is_told_once_more_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 10)
    spool = Spool(tmp_path, 1000)
    spool.put(b"one")
    message = spool.oldest()
    spool.put(b"two")
    spool.put(b"three")
    spool.put(b"four and more")
    assert message == b"one"
    spool.done(message)
    assert drain(spool) == [b"one", b"two", b"three", b"four and more"]


def test_without_a_directory_memory_is_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 30)
    spool = Spool(None, 0)
    for n in range(10):
        spool.put(b"message %d!" % n)
    assert drain(spool) == [b"message 7!", b"message 8!", b"message 9!"]
    assert spool.dropped == 7


def test_a_disk_that_takes_nothing_costs_the_oldest_and_not_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 30)
    spool = Spool(tmp_path, 1000)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    for n in range(5):
        spool.put(b"message %d!" % n)
    monkeypatch.undo()
    assert spool.oldest() == b"message 2!"
    assert spool.dropped == 2


@given(st.integers(0, 400), st.integers(0, 400))
@settings(deadline=None)
def test_a_torn_file_gives_what_is_before_the_tear(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    place = tmp_path_factory.mktemp("torn")
    spool = Spool(place, 10_000)
    messages = [random.Random(n).randbytes(30) for n in range(8)]
    for message in messages:
        spool.put(message)
    spool.close()
    (path,) = place.iterdir()
    data = bytearray(path.read_bytes()[: max(0, path.stat().st_size - cut)])
    if flip < len(data):
        data[flip] ^= 1
    path.write_bytes(data)
    found = drain(Spool(place, 10_000))
    assert found == messages[: len(found)]
    assert len(found) >= min(flip, len(data)) // 38 - 1


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.spool").write_text("mine")
    spool = Spool(tmp_path, 1000)
    spool.put(b"x")
    assert drain(spool) == [b"x"]
    assert (tmp_path / "notes.spool").read_text() == "mine"
