"""Desired state from a fleet: who runs what, and how two fleets differ."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgesync.control.changes import changes
from edgesync.control.desired import compile_fleet
from edgesync.control.types import Board, Fleet, Group, Image, Release, Selector, Wave
from edgesync.wire.ids import DeviceId, Digest

RELEASES = {
    name: Release(
        name,
        {
            part: Image(part, f"{name}-{part}", name, Digest(f"{at:x}{number:x}" * 32), ("files",))
            for at, part in enumerate(parts)
        },
    )
    for number, (name, parts) in enumerate({"v1": ["root"], "v2": ["root"], "v3": ["boot", "root"]}.items())
}
RINGS = st.sampled_from(["canary", "field", "lab"])
CHOICES = st.sampled_from([None, *RELEASES])


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    boards = {}
    for number in draw(st.sets(st.integers(1, 6))):
        device = DeviceId(f"demo.b{number:02}")
        key = draw(st.sampled_from("ab")) * 64
        boards[device] = Board(device, "files", {"ring": draw(RINGS)}, key, draw(CHOICES))
    group = Group("canary", Selector({"ring": "canary"}), draw(CHOICES))
    waves = (Wave("canary", Selector({"ring": "canary"})), Wave("rest", Selector()))
    return Fleet("demo", "rev", boards, (group,), RELEASES, waves, draw(CHOICES))


@given(fleets())
def test_the_boards_own_release_comes_before_its_groups_and_that_before_the_default(fleet: Fleet):
    wanted = compile_fleet(fleet)
    for device, board in fleet.boards.items():
        group = fleet.groups[0].release if board.labels["ring"] == "canary" else None
        release = next((name for name in (board.release, group, fleet.default_release) if name is not None), None)
        assert (wanted[device].release if device in wanted else None) == release


@given(fleets())
def test_each_board_is_in_the_first_wave_that_selects_it(fleet: Fleet):
    for device, want in compile_fleet(fleet).items():
        assert want.wave == (0 if fleet.boards[device].labels["ring"] == "canary" else 1)


@given(fleets())
def test_a_fleet_does_not_differ_from_itself_whatever_its_revision(fleet: Fleet):
    assert changes(fleet, replace(fleet, revision="other")) == []


@given(fleets(), fleets())
def test_the_changes_lead_from_what_the_boards_run_to_what_they_shall_run(old: Fleet, new: Fleet):
    def digests(fleet: Fleet) -> dict[tuple[str, str], str]:
        wanted = compile_fleet(fleet).values()
        return {(want.device, part): image.sha256 for want in wanted for part, image in want.images.items()}

    state = digests(old)
    for change in changes(old, new):
        if change.name:
            where = (change.device, change.name)
            assert state.pop(where, None) == (change.old.sha256 if isinstance(change.old, Image) else None)
            if isinstance(change.new, Image):
                state[where] = change.new.sha256
    assert state == digests(new)


@given(fleets(), fleets())
def test_boards_that_come_and_go_are_named_even_without_a_release(old: Fleet, new: Fleet):
    found = changes(old, new)
    assert {c.device for c in found if c.kind == "added"} == new.boards.keys() - old.boards.keys()
    assert {c.device for c in found if c.kind == "removed"} == old.boards.keys() - new.boards.keys()


@given(fleets(), fleets())
def test_a_board_whose_key_changes_is_named(old: Fleet, new: Fleet):
    both = old.boards.keys() & new.boards.keys()
    changed = {device for device in both if old.boards[device].key != new.boards[device].key}
    assert {change.device for change in changes(old, new) if change.kind == "key"} == changed


def test_without_an_older_fleet_every_board_is_added():
    board = Board(DeviceId("demo.b01"), "files", {}, "a" * 64, "v3")
    fleet = Fleet("demo", "rev", {board.device: board}, (), RELEASES, (Wave("all", Selector()),))
    assert [(c.kind, c.name, c.wave) for c in changes(None, fleet)] == [
        ("added", "boot", "all"),
        ("added", "root", "all"),
    ]


def test_an_image_that_only_moved_within_its_file_is_no_change():
    image = RELEASES["v1"].images["root"]
    assert replace(image, line=7, file="releases/other.yaml") == image
