"""Manners on the link and windows of time: what fleet.yaml and boards say, and which word counts for a board."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.control.desired import compile_fleet
from edgesync.control.policies import written
from edgesync.control.types import Selector, Window
from edgesync.wire.messages import Manners
from tests.control.config_texts import BOARDS, FLEET, problems, read


def manners(files: dict[str, str]) -> dict[str, Manners]:
    return {device.partition(".")[2]: wanted.manners for device, wanted in compile_fleet(read(files)).items()}


def with_group(name: str, text: str, fleet: str = FLEET) -> str:
    """The fleet with more lines in one of its groups."""
    head, mark, rest = fleet.partition(f"  {name}:\n")
    return f"{head}{mark}    manners: {{{text}}}\n{rest}"


def test_a_board_that_nobody_says_anything_of_has_no_manners_and_no_budget():
    assert set(manners({}).values()) == {Manners()}


def test_manners_are_read_in_bytes_seconds_and_per_cent():
    text = FLEET + "byte_budget: 2 MiB\nmanners: {check_in: 6 h, rate_cap: 16 kbit/s, share: 50 %, defer: 24 h}\n"
    expected = Manners(2 << 20, check_in=21600, rate=2000, share=50, defer=86400)
    assert set(manners({"fleet.yaml": text}).values()) == {expected}


@given(
    st.builds(
        Manners,
        budget=st.integers(0, 10**12),
        check_in=st.integers(0, 10**7),
        rate=st.integers(0, 10**6),
        share=st.integers(1, 100),
        defer=st.integers(0, 10**7),
    )
)
def test_what_is_written_of_manners_is_read_as_the_same_manners(expected: Manners):
    said = dict(written(expected))
    budget = said.pop("byte_budget", "none")
    inside = ", ".join(f"{key}: {text}" for key, text in said.items())
    text = f"{FLEET}byte_budget: {budget}\nmanners: {{{inside}}}\n"
    assert set(manners({"fleet.yaml": text}).values()) == {expected}


def test_a_boards_manners_come_before_its_groups_and_those_before_the_fleets_each_by_itself():
    fleet = with_group("canary", "check_in: none, rate_cap: 8 kbit/s", FLEET + "manners: {check_in: 6 h, defer: 1 h}\n")
    boards = BOARDS.replace("id: b01", "id: b01\n    manners: {rate_cap: none, byte_budget: 5 MB}")
    assert manners({"fleet.yaml": fleet, "boards/all.yaml": boards}) == {
        "b01": Manners(5_000_000, defer=3600),
        "b02": Manners(rate=1000, defer=3600),
        "b03": Manners(check_in=21600, defer=3600),
    }


KEYS = {"check_in": "1 h", "rate_cap": "1 kbit/s", "share": "50 %", "defer": "1 h", "byte_budget": "5 MB"}
SOME = st.sets(st.sampled_from(sorted(KEYS)))


@given(SOME, SOME, SOME)
def test_two_groups_that_say_the_same_of_one_board_are_named_unless_the_board_says_it(
    canary: set[str], north: set[str], own: set[str]
):
    def lines(keys: set[str]) -> str:
        return ", ".join(f"{key}: {KEYS[key]}" for key in sorted(keys))

    fleet = with_group("north", lines(north), with_group("canary", lines(canary)))
    boards = BOARDS.replace("id: b01", f"id: b01\n    manners: {{{lines(own)}}}")
    found = problems({"fleet.yaml": fleet, "boards/all.yaml": boards})
    assert len(found) == len((canary & north) - own)
    assert all("from groups canary and north" in p.found and p.key == "boards[0].id" for p in found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("check_in: 6", "manners.check_in: found '6', expected a number and a unit (s, min, h, d) such as '6 h'"),
        ("check_in: 0 s", "manners.check_in: found '0 s', expected more than nothing, or none"),
        ("rate_cap: 16 kB", "manners.rate_cap: found '16 kB', expected a number and a unit (bit/s, kbit/s, Mbit/s)"),
        ("rate_cap: 7 bit/s", "manners.rate_cap: found '7 bit/s', expected more than nothing"),
        ("share: 0 %", "manners.share: found '0 %', expected whole per cent, 1 % to 100 %"),
        ("share: 101 %", "manners.share: found '101 %'"),
        ("share: 0.5", "manners.share: found '0.5', expected a number and a unit (%)"),
        ("defr: 1 h", "manners.defr: found the unknown key 'defr', expected a known key (did you mean 'defer'?)"),
        ("byte_budget: 1 MB", "manners.byte_budget: found the unknown key"),
    ],
)
def test_a_mistake_in_manners_is_named_once(text: str, says: str):
    (problem,) = problems({"fleet.yaml": f"{FLEET}manners: {{{text}}}\n"})
    assert str(problem).startswith("fleet.yaml:13: ")
    assert says in str(problem)


# --- windows -------------------------------------------------------------------------------------------------------

NIGHT = '{name: night, select: {site: north}, days: [mon, sun], from: "22:00", to: "04:30", timezone: Europe/Berlin}'


def windows(*lines: str) -> dict[str, str]:
    return {"fleet.yaml": FLEET + "windows:\n" + "".join(f"  - {line}\n" for line in lines)}


def test_windows_are_read_with_days_as_numbers_and_times_as_minutes():
    found = read(windows(NIGHT, "{name: freeze, select: {}, kind: deny, days: [fri]}")).windows
    assert found == (
        Window("night", Selector({"site": "north"}), frozenset({0, 6}), 22 * 60, 4 * 60 + 30, "Europe/Berlin", "allow"),
        Window("freeze", Selector(), frozenset({4}), 0, 0, "UTC", "deny"),
    )


def test_a_window_without_days_and_times_is_always():
    (found,) = read(windows("{name: all, select: {}}")).windows
    assert (found.days, found.start, found.end) == (frozenset(range(7)), 0, 0)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: night, ", "", "windows[0].name: found nothing"),
        ("select: {site: north}, ", "", "windows[0].select: found nothing"),
        ("site: north", "site: nroth", "windows[0].select: found {site: nroth}, which matches no board"),
        ("[mon, sun]", "[mon, sunday]", "windows[0].days: found 'sunday', expected days of mon, tue,"),
        ("[mon, sun]", "mon", "windows[0].days: found 'mon', expected a list of days"),
        ("22:00", "24:00", "windows[0].from: found '24:00', expected a time of day such as \"22:00\""),
        ("04:30", "4:30", "windows[0].to: found '4:30'"),
        ("Europe/Berlin", "Europe/Bonn", "windows[0].timezone: found 'Europe/Bonn', expected a time zone"),
        ("Europe/Berlin", "../../etc/passwd", "windows[0].timezone: found"),
        ("Europe/Berlin", "Europe", "windows[0].timezone: found 'Europe'"),
        ("timezone", "zone", "windows[0].zone: found the unknown key 'zone'"),
        ("days:", "kind: alow, days:", "windows[0].kind: found 'alow', expected one of allow, deny (did you mean"),
    ],
)
def test_a_mistake_in_a_window_is_named_once(old: str, new: str, says: str):
    assert old in NIGHT
    (problem,) = problems(windows(NIGHT.replace(old, new, 1)))
    assert str(problem).startswith("fleet.yaml:14: ")
    assert says in str(problem)


def test_two_windows_of_a_name_are_told_with_the_place_of_the_first():
    (problem,) = problems(windows(NIGHT, NIGHT))
    assert (problem.line, problem.hint) == (15, "the first is in fleet.yaml:14")
