"""docs/operations.md names what there is: every member of the status, every status of a board, every command."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from edgesync.cli import commands
from edgesync.control.fleet import FleetView, Refusal
from edgesync.control.health import Health, Sync
from edgesync.control.planner import BlobKey, Built
from edgesync.control.standing import Spec, Standing, State, Status
from edgesync.control.types import Board, ConfigBundle, Fleet, Group, Image, Selector, Wanted, Wave
from edgesync.control.view import blobs, detail, overview
from edgesync.wire.ids import BlobId, DeviceId, digest_of
from edgesync.wire.messages import Phase, Reported

TEXT = (Path(__file__).parents[2] / "docs/operations.md").read_text()
WORDS = set(re.findall(r"`([^`]+)`", TEXT))
DEVICE = DeviceId("demo.b1")


def names(value: dict[str, Any]) -> set[str]:
    return {
        *value,
        *(name for v in value.values() if isinstance(v, list) for item in v if isinstance(item, dict) for name in item),
    }


def test_every_member_of_the_json_is_described() -> None:
    images, config = {"root": Image("root", "x", "1", digest_of(b"x"), ())}, ConfigBundle(digest_of(b"c"), 1, "", b"c")
    board = Standing(Wanted(DEVICE, "v1", images, 0, config))
    view = FleetView({}, {}, {})
    view.refused[DEVICE] = Refusal("ForgedMessage", "", 1.0, 1)
    health = {"fleet": "demo", "problem": "", "broker": {}, "publisher": {}}
    making = {BlobKey(digest_of(b"x")): ("compress", 1, 2)}
    status = overview(State(boards={DEVICE: board}), view, making, health, 1.0)
    old, new = digest_of(b"old"), digest_of(b"x")
    reported = Reported(DEVICE, 1, "boot", "a", confirmed=True, images={"root": old}, phase=Phase.IDLE)
    waiting = replace(board, reported=reported)
    declared = Board(DEVICE, "files", {}, "")
    fleet = Fleet("demo", "", {DEVICE: declared}, (Group("all", Selector()),), {}, (Wave("all", Selector()),))
    spec = Spec(fleet, {DEVICE: board.wanted}, {old: 1000, new: 1000})
    state = State(
        spec, phase="running", boards={DEVICE: waiting}, blobs={BlobKey(new, old): Built(BlobId("0" * 32), 9)}
    )
    deep = overview(state, view, making, health, 1.0)
    members = (
        names(status) | names(status["rollout"]) | names(deep) | names(detail(state, waiting, view, 1.0, rollouts=[]))
    )
    members |= {name for blob in blobs(state) for name in blob}
    members |= set(deep["boards"][0]["config"])
    assert members <= WORDS, members - WORDS


def test_every_word_of_health_is_described() -> None:
    assert {*get_args(Health), *get_args(Sync)} <= WORDS


def test_every_status_and_every_command_is_described() -> None:
    assert {status.value for status in Status} <= WORDS
    for name in ("status", "history", "pause", "resume", "abort", "retry"):
        assert any(word.split()[0] in (name, "edgesync") and name in word for word in WORDS), name
        assert name == "status" or name in (commands.__doc__ or "")
