"""The fleet repository's files: all that is wrong is found and said with file, line and key, and nothing else is."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgesync.boards import profile
from edgesync.control import parse
from edgesync.control.parse import DEPTH_LIMIT, FILE_LIMIT, Problem, compose
from edgesync.control.repository import FleetInvalidError, load
from edgesync.control.types import LINK, FailurePolicy, Fleet, SourceFile

FILES = profile.load("files")
TYPES = {
    "files": FILES,
    "pi": replace(FILES, name="pi", components=("boot",)),
    "jetson-orin": replace(FILES, name="jetson-orin", components=("kernel", "rootfs")),
}

FLEET = """\
format: 1
fleet: demo
defaults:
  release: v1
groups:
  canary:
    select: {ring: canary}
    release: v2
waves:
  - name: canary
    select: {ring: canary}
  - name: rest
    select: {}
    success: 95 %
failure:
  on_delta_failure: full-if-under 4 MB
abort_at: 12.5 %
lost_after: 90 min
byte_budget: 2 MiB
http_source: https://firmware.example.com/blobs
"""
BOARDS = f"""\
boards:
  - id: b01
    type: files
    labels: {{ring: canary, site: no}}
    key: {"1" * 64}
  - id: b02
    type: files
    labels: {{ring: field}}
    key: {"2" * 64}
"""
RELEASE = """\
name: {name}
images:
  rootfs:
    path: {name}/rootfs.img
    version: 1.10
    sha256: {digest}
    compatible: [files]
"""


def texts() -> dict[str, str]:
    return {
        "fleet.yaml": FLEET,
        "boards/site-a.yaml": BOARDS,
        "releases/v1.yaml": RELEASE.format(name="v1", digest="a" * 64),
        "releases/v2.yaml": RELEASE.format(name="v2", digest="b" * 64),
    }


def read(files: dict[str, str]) -> Fleet:
    return load({path: SourceFile(text.encode()) for path, text in files.items()}, "rev", TYPES)


def problems(files: dict[str, str]) -> list[Problem]:
    try:
        read(files)
    except FleetInvalidError as error:
        return list(error.problems)
    return []


def test_a_valid_repository_is_read_with_sizes_in_bytes_and_durations_in_seconds():
    fleet = read(texts())
    assert (fleet.name, fleet.revision, sorted(fleet.boards)) == ("demo", "rev", ["demo.b01", "demo.b02"])
    assert fleet.failure == FailurePolicy("full", 4_000_000)
    assert (fleet.abort_at, fleet.lost_after, fleet.manners.budget) == (0.125, 5400.0, 2 * 1024 * 1024)
    assert [(wave.name, wave.success) for wave in fleet.waves] == [("canary", 1.0), ("rest", 0.95)]


def test_text_stays_text_where_yaml_would_make_numbers_and_booleans_of_it():
    fleet = read(texts())
    assert fleet.releases["v1"].images["rootfs"].version == "1.10"
    assert fleet.boards["demo.b01"].labels["site"] == "no"


def test_files_that_are_not_the_fleets_are_not_read():
    assert not problems(texts() | {"README.md": "{", ".github/ci.yaml": "&", "images/x.yaml": "*"})


# What is replaced by what, and what the problem says: its place behind "file:", and some of the rest.
MISTAKES: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "fleet.yaml": {
        "an unknown key": ("byte_budget", "byte_budgt", "19: byte_budgt", "'byte_budget'?"),
        "another format": ("format: 1", "format: 2", "1: format: found '2'", "expected 1"),
        "no unit": ("2 MiB", "2000", "19: byte_budget", "the unit is missing"),
        "a unit in the wrong case": ("2 MiB", "2 mib", "19: byte_budget", "did you mean 'MiB'?"),
        "a unit of another kind": ("90 min", "90 MB", "18: lost_after", "s, min, h, d"),
        "no time at all": ("90 min", "0 s", "18: lost_after", "more than 0 s"),
        "more than the whole": ("95 %", "101 %", "14: waves[1].success", "0 % to 100 %"),
        "a fraction without per cent": ("95 %", "0.95", "14: waves[1].success", "95 %"),
        "an unknown policy": ("full-if-under 4 MB", "full", "16: failure.on_delta", "full-if-under"),
        "a policy without a size": ("under 4 MB", "under 4", "16: failure.on_delta", "unit"),
        "a URL of another kind": ("https://", "ftp://", "20: http_source", "https URL"),
        "an unknown release": ("release: v1", "release: v9", "4: defaults.release", "known: v1, v2"),
        "a group's unknown release": ("release: v2", "release: V2", "8: groups.canary.release", "'v2'?"),
        "a selector that matches nothing": (
            "    select: {ring: canary}\n    release",
            "    select: {ring: canari}\n    release",
            "7: groups.canary.select: found {ring: canari}",
            "did you mean 'ring: canary'?",
        ),
        "a wave that selects nothing": (
            "    select: {ring: canary}\n  - name: rest",
            "    select: {ring: none}\n  - name: rest",
            "11: waves[0].select",
            "matches no board",
        ),
        "boards in no wave": (
            "  - name: rest\n    select: {}\n    success: 95 %\n",
            "",
            "boards/site-a.yaml:6: boards[1]",
            "no wave",
        ),
        "a wave behind a wider one": (
            "select: {ring: canary}\n  - name: rest",
            "select: {}\n  - name: rest",
            "13: waves[1].select",
            "earlier wave",
        ),
        "two waves of a name": ("name: rest", "name: canary", "12: waves[1].name", "fleet.yaml:10"),
        "a key twice": ("fleet: demo", "fleet: demo\nfleet: other", "3: fleet", "first is in line 2"),
        "a Python object": ("2 MiB", "!!python/object/apply:os.getcwd []", "19: byte_budget", "no tags"),
        "a control character": ("2 MiB", "2 \u0007", "19: found the character", "printable"),
        "a key with an escape sequence": ("byte_budget", '"\\e[2J"', "19: found the key '\\x1b[2J'", "one line"),
        "a tag with an escape sequence": ("2 MiB", "!%1b 1", "19: byte_budget: found the tag '!\\x1b", "no tags"),
        "two documents": ("waves:", "---\nwaves:", "9: found a second document", ""),
    },
    "boards/site-a.yaml": {
        "an unknown key in a board": (
            "type: files",
            "type: files\n    colour: red",
            "4: boards[0].colour",
            "known here: id, labels, type, key",
        ),
        "a missing key": ("    type: files\n", "", "2: boards[0].type", ""),
        "a board twice": ("id: b02", "id: b01", "6: boards[1].id", "site-a.yaml:2"),
        "a key of two boards": ("2" * 64, "1" * 64, "9: boards[1].key", "site-a.yaml:5"),
        "a short key": ("2" * 64, "2" * 63, "9: boards[1].key", "64 lower-case hex"),
        "an unknown board type": ("type: files", "type: fils", "3: boards[0].type", "'files'?"),
        "a reserved name": ("id: b01", "id: server", "2: boards[0].id", "reserved"),
        "the broker's name": ("id: b01", "id: broker", "2: boards[0].id", "reserved"),
        "a name with a slash": ("id: b01", "id: a/b", "2: boards[0].id", "[a-z0-9-]"),
        "a name that is too long": ("id: b01", "id: " + "b" * 60, "2: boards[0].id", "at most 64"),
        "boards that are no list": (BOARDS, "boards: b01\n", "1: boards", "a list of boards"),
        "an empty value": ("type: files", "type:", "3: boards[0].type: found nothing", ""),
        "an alias": ("{ring: field}", "*labels", "8: boards[1].labels", "anchors"),
        "an anchor": ("{ring: field}", "&l {ring: field}", "8: boards[1].labels", "anchors"),
    },
    "releases/v1.yaml": {
        "a malformed digest": ("a" * 64, "A" * 64, "6: images.rootfs.sha256", "hex"),
        "no digest": (f"    sha256: {'a' * 64}\n", "", "3: images.rootfs.sha256", "sha256sum"),
        "an escape sequence": ("1.10", '"\\e[2J"', "5: images.rootfs.version", "control character"),
        "a path that leaves": ("path: v1/", "path: ../", "4: images.rootfs.path", "relative"),
        "an absolute path": ("path: v1/", "path: /v1/", "4: images.rootfs.path", "relative"),
        "compatible with an unknown type": (
            "[files]",
            "[files, jetson]",
            "7: images.rootfs.compatible[1]",
            "jetson-orin",
        ),
        "a component that the type has not got": (
            "[files]",
            "[files, pi]",
            "7: images.rootfs.compatible[1]: found the component 'rootfs'",
            "one of boot",
        ),
        "no compatible types": ("[files]", "[]", "7: images.rootfs.compatible", "empty list"),
    },
    "releases/v2.yaml": {
        "not compatible": (
            "[files]",
            "[jetson-orin]",
            "boards/site-a.yaml:2: boards[0].id",
            "rootfs in releases/v2.yaml:3",
        ),
        "a release twice": ("name: v2", "name: v1", "1: name: found 'v1' again", "v1.yaml:1"),
        "not YAML": ("images:", "images: [", "", "expected YAML"),
        "a tab": ("  rootfs:", "\trootfs:", "3", "spaces, not tabs"),
    },
}
CASES = [(path, *mistake) for path, mistakes in MISTAKES.items() for mistake in mistakes.values()]
NAMES = [name for mistakes in MISTAKES.values() for name in mistakes]


@pytest.mark.parametrize(("path", "old", "new", "where", "what"), CASES, ids=NAMES)
def test_a_mistake_is_named_once_with_its_file_line_and_key(path: str, old: str, new: str, where: str, what: str):
    files = texts()
    assert old in files[path]
    files[path] = files[path].replace(old, new, 1)
    (problem,) = (str(problem) for problem in problems(files))
    assert problem.startswith(where if where.startswith("boards/") else f"{path}:{where}")
    assert what in problem


@pytest.mark.parametrize("name", ["CSafeLoader", "SafeLoader"])
def test_values_and_lines_are_the_same_with_and_without_libyaml(name: str, monkeypatch: pytest.MonkeyPatch):
    empty = 'a:\nb: ""\nc: ~\nd: "null"\ne: [1, no]\n'
    expected = [compose(path, text.encode()) for path, text in (texts() | {"empty.yaml": empty}).items()]
    monkeypatch.setattr(parse, "_LOADER", getattr(yaml, name))
    assert [compose(path, text.encode()) for path, text in (texts() | {"empty.yaml": empty}).items()] == expected
    values = compose("empty.yaml", empty.encode())[0].values
    assert [node.text for node in values.values() if isinstance(node, parse.Scalar)] == [None, "", None, "null"]


def test_links_and_submodules_are_named_beside_all_other_problems():
    files = {name: SourceFile(text.encode()) for name, text in texts().items()}
    files |= {"boards/link.yaml": SourceFile(b"", LINK), "config/fleet/files/sub": SourceFile(b"", 0o160000)}
    files["fleet.yaml"] = SourceFile(FLEET.replace("2 MiB", "2").encode())
    with pytest.raises(FleetInvalidError) as caught:
        load(files, "rev", TYPES)
    assert [(p.file, p.found) for p in caught.value.problems] == [
        ("boards/link.yaml", "a symbolic link"),
        ("config/fleet/files/sub", "a submodule"),
        ("fleet.yaml", "'2'"),
    ]


def test_every_problem_is_reported_sorted_by_file_and_line():
    files = texts()
    files["fleet.yaml"] = files["fleet.yaml"].replace("2 MiB", "2").replace("release: v1", "release: v9")
    files["boards/site-a.yaml"] = files["boards/site-a.yaml"].replace("type: files", "type: x").replace("2" * 64, "2")
    found = problems(files)
    assert [(p.file, p.line) for p in found] == sorted((p.file, p.line) for p in found)
    assert [p.key for p in found] == [
        "boards[0].type",
        "boards[1].type",
        "boards[1].key",
        "defaults.release",
        "byte_budget",
    ]


def test_two_groups_that_disagree_about_a_board_are_both_named():
    files = texts()
    files["fleet.yaml"] = FLEET.replace("waves:", "  noisy:\n    select: {site: no}\n    release: v1\nwaves:")
    (problem,) = problems(files)
    assert (problem.file, problem.line, problem.key) == ("boards/site-a.yaml", 2, "boards[0].release")
    assert "'v2' from group canary and 'v1' from group noisy" in problem.found
    files["boards/site-a.yaml"] = BOARDS.replace("id: b01", "id: b01\n    release: v1")
    assert not problems(files), "a board's own release settles it"


def test_an_empty_repository_and_one_without_boards_say_what_is_missing():
    assert "`edgesync init`" in str(problems({})[0])
    files = texts()
    del files["boards/site-a.yaml"]
    assert [p.found for p in problems(files)] == ["no board in boards/*.yaml"]
    files["boards/site-a.yaml"] = "boards: []\n"
    assert [p.found for p in problems(files)] == ["no board in boards/*.yaml"]
    del files["boards/site-a.yaml"]
    files["boards/site-a.yml"] = BOARDS
    assert [(p.file, p.hint) for p in problems(files)] == [("boards/site-a.yml", "rename the file")]


def test_a_board_without_any_release_is_valid():
    files = texts()
    files["fleet.yaml"] = FLEET.replace("defaults:\n  release: v1\n", "")
    assert not problems(files)


@given(st.sampled_from(sorted(texts())), st.binary(max_size=200), st.integers(0, 800), st.integers(0, 40))
def test_any_bytes_anywhere_give_a_fleet_or_named_problems(path: str, junk: bytes, at: int, cut: int):
    files = {name: SourceFile(text.encode()) for name, text in texts().items()}
    whole = files[path].data
    files[path] = SourceFile(whole[:at] + junk + whole[at + cut :])
    found: tuple[Problem, ...] = ()
    try:
        load(files, "rev", TYPES)
    except FleetInvalidError as error:
        found = error.problems
        assert found
    assert all(p.file in files and str(p).isprintable() for p in found)


LINES = [(path, number) for path, text in texts().items() for number in range(text.count("\n"))]


@given(st.sampled_from(LINES), st.sampled_from(LINES))
def test_lost_and_misplaced_lines_give_a_fleet_or_named_problems(lost: tuple[str, int], kept: tuple[str, int]):
    files = {path: text.splitlines() for path, text in texts().items()}
    line = files[lost[0]].pop(lost[1])
    files[kept[0]].insert(kept[1], line)
    found = problems({path: "\n".join(lines) for path, lines in files.items()})
    assert all(p.file in files and p.found and p.expected for p in found)


BOMBS = {
    "at most 16 levels": b"a: " + b"[" * 100_000,
    "found more than 16 levels": b"- " * 1_000_000,
    "a word as a key": b"{" * 1_000_000,
    "no anchors and aliases": b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]",
    "more than 500000 values": b"a: [" + b"1," * 1_000_000 + b"]",
    "at most 4194304": b"x" * (FILE_LIMIT + 1),
}


@pytest.mark.parametrize(("says", "bomb"), BOMBS.items(), ids=BOMBS.keys())
def test_a_bomb_is_refused_quickly(says: str, bomb: bytes):
    began = time.process_time()
    table, (problem,) = compose("bomb.yaml", bomb)
    assert says in str(problem)
    assert not table.values
    assert time.process_time() - began < 10


def test_nesting_up_to_the_limit_is_read():
    inner = "a: " + "{a: " * (DEPTH_LIMIT - 2) + "1" + "}" * (DEPTH_LIMIT - 2)
    assert not compose("deep.yaml", inner.encode())[1]


def test_ten_thousand_boards_in_one_file_are_read_within_ten_seconds():
    files = texts()
    boards = [
        f"  - id: b{n:05}\n    type: files\n    labels: {{ring: {'field' if n % 10 else 'canary'}, site: s{n % 50}}}\n"
        f"    key: {n:064x}\n"
        for n in range(10_000)
    ]
    files["boards/site-a.yaml"] = "boards:\n" + "".join(boards)
    began = time.process_time()
    assert len(read(files).boards) == 10_000
    assert time.process_time() - began < 10
