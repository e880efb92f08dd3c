"""The parts of filelog, each by itself: patterns, ring, entries, records, positions, config."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import re
import tempfile
from collections import deque
from pathlib import Path

import pytest
from filelog_parts import config
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.receiver.filelog import patterns
from collector_ext.receiver.filelog.config import Multiline, Parse
from collector_ext.receiver.filelog.entries import Entries
from collector_ext.receiver.filelog.factory import FACTORY
from collector_ext.receiver.filelog.identity import Fingerprint, fingerprint, is_compressed
from collector_ext.receiver.filelog.offsets import Offsets, Position
from collector_ext.receiver.filelog.patterns import Finder
from collector_ext.receiver.filelog.records import LATEST, Records, iso
from collector_ext.receiver.filelog.ring import Ring
from collector_ext.settings.sizes import UNITS, ByteSize, parse_size
from collector_ext.testing.contract import refusal
from edgesync.wire.errors import ConfigError, StorageError

NANO = 1_000_000_000

# --- config -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "include: required argument is empty"),
        ("{include: [/x/*.log], operators: []}", "has invalid keys: operators"),
        ("{include: [/x/*.log], start_at: middle}", "start_at: found 'middle', expected one of beginning, end"),
        ("{include: [/x/*.log], encoding: utf-16}", "encoding: found 'utf-16', expected one of utf-8"),
        ("{include: [/x/*.log], max_log_size: 1XiB}", "max_log_size: found '1XiB', expected a size in bytes"),
        (
            "{include: [/x/*.log], max_log_size: 1MiB}",
            "buffer_size: found 262144, expected 4194304 to 4294967296 bytes",
        ),
        ("{include: [/x/*.log], fingerprint_size: 15}", "fingerprint_size: found 15, expected 16"),
        ("{include: [/x/*.log], max_concurrent_files: 1}", "max_concurrent_files: found 1, expected 2"),
        ("{include: [/x/*.log], poll_interval: 1ms}", "poll_interval: found 0.001s, expected 10ms"),
        ("{include: [/x/], exclude: []}", "include: found '/x/', expected the path of a file"),
        ("{include: [/x/a**]}", r"include: in '/x/a\*\*' \*\* stands beside other characters"),
        ("{include: ['/x/[z-a]']}", "include: in .* bad character range"),
        ("{include: ['/x/{a,{b,c}}']}", "include: in .* braces stand within braces"),
        ("{include: ['/x/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}']}", "include: more than 100 patterns"),
        ("{include: [x], multiline: {line_start_pattern: a, line_end_pattern: b}}", "only one of line_start_pattern"),
        ("{include: [x], multiline: {line_start_pattern: '('}}", "line_start_pattern: missing"),
        ("{include: [x], parse: {regex: 'a'}}", "regex: there is no named group"),
        ("{include: [x], parse: {regex: '(?P<body>.)', layout: '%Y'}}", "layout: regex has no group"),
    ],
)
def test_a_config_that_cannot_be_says_which_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(text)


def test_a_collectors_config_is_taken_as_it_is() -> None:
    made = config(
        "{include: ['/var/log/{app,web}/*.log'], exclude: ['**/*.gz'], start_at: beginning, poll_interval: 200ms,"
        " fingerprint_size: 1kb, max_log_size: 32KiB, encoding: utf-8, include_file_path: true,"
        " multiline: {line_start_pattern: '^\\d{4}-'}, attributes: {a: b}, resource: {service.name: app}}"
    )
    assert (made.fingerprint_size, made.max_log_size, made.resource) == (1000, 32768, {"service.name": "app"})
    assert refusal(FACTORY, include=("x",), force_flush_period=-1.0).startswith("force_flush_period")


@given(st.integers(0, 10**12 - 1), st.sampled_from(sorted(UNITS)), st.booleans())
def test_a_size_is_a_number_with_or_without_a_unit(number: int, unit: str, upper: bool) -> None:
    assert parse_size(f"{number}{unit.upper() if upper else unit}") == ByteSize(number * UNITS[unit])


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_named_error(text: str) -> None:
    if re.fullmatch(r"[0-9]{1,12}", text):
        assert parse_size(text) == int(text)
    else:
        with contextlib.suppress(ValueError):
            assert parse_size(text) >= 0


# --- patterns -----------------------------------------------------------------------------------------------------


def found(directory: Path, *include: str, exclude: tuple[str, ...] = ()) -> list[str]:
    finder = Finder([f"{directory}/{one}" for one in include], [f"{directory}/{one}" for one in exclude])
    names = [os.path.relpath(one.path, directory) for one in finder.look().values()]
    assert not finder.problems, finder.problems
    return sorted(names)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.log", "a.log.1", "b.log", "sub/c.log", "sub/deep/d.log", "sub/deep/.e.log", "[x].log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_patterns_match_as_the_collectors_do(tree: Path) -> None:
    assert found(tree, "*.log") == ["[x].log", "a.log", "b.log"]
    assert found(tree, "a.log*", exclude=("*.1",)) == ["a.log"]
    assert found(tree, "{a,b,nothing}.log") == ["a.log", "b.log"]
    assert found(tree, "**/*.log", exclude=("sub/deep/**",)) == ["[x].log", "a.log", "b.log", "sub/c.log"]
    assert Finder([f"{tree}/*.1"], ["**/*.1"]).look() == {}
    assert found(tree, "sub/**") == ["sub/c.log", "sub/deep/.e.log", "sub/deep/d.log"]
    assert found(tree, "**/deep/?.log", "*/c.log") == ["sub/c.log", "sub/deep/d.log"]
    assert found(tree, "[!a].log", "[^b].log", "[[]x].log") == ["[x].log", "a.log", "b.log"]
    assert found(tree, "sub/../a.log", "a.log", "nothing.log", "*/nothing.log") == ["a.log"]


@given(st.text("ab*?[]!^-{},./\\", min_size=1, max_size=12))
def test_any_pattern_is_refused_or_looked_for(pattern: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "ab.b").write_text("x")
        try:
            patterns.check("include", [f"{directory}/{pattern}"])
        except ConfigError:
            return
        finder = Finder([f"{directory}/{pattern}"], [])
        one = {inode: one for inode, one in finder.look().items() if one.path.startswith(directory)}
        matched = Finder([f"{directory}/{pattern}"], [f"{directory}/{pattern}"]).look()
        if ".." not in pattern and "//" not in pattern and "/." not in pattern:
            assert not (one.keys() & matched.keys()), "what includes a file excludes it as well"


def test_links_that_go_in_circles_are_not_followed_and_are_named(tree: Path) -> None:
    (tree / "sub/up").symlink_to(tree)
    (tree / "loop.log").symlink_to("loop.log")
    (tree / "linked.log").symlink_to("b.log")
    finder = Finder([f"{tree}/**/*.log"], [])
    assert len(finder.look()) == 6  # linked.log is b.log
    assert finder.problems == {f"{tree}/loop.log": "Too many levels of symbolic links"}


def test_what_is_no_regular_file_is_a_problem_and_directories_that_match_are_none(tree: Path) -> None:
    os.mkfifo(tree / "pipe.log")
    (tree / "dir.log").mkdir()
    finder = Finder([f"{tree}/*.log", "/dev/null", f"{tree}/sub", f"{tree}/gone/x.log", f"{tree}/lost/*.log"], [])
    finder.look()
    assert finder.problems == {
        f"{tree}/pipe.log": "not a regular file; it is not opened",
        "/dev/null": "not a regular file; it is not opened",
        f"{tree}/sub": "not a regular file; it is not opened",
        f"{tree}/gone": "No such file or directory",
        f"{tree}/lost": "No such file or directory",
    }


def test_a_look_is_bounded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "FILES_LIMIT", 2)
    finder = Finder([f"{tree}/**"], [])
    assert len(finder.look()) == 2
    assert "more than 2 files match" in "".join(finder.problems.values())
    monkeypatch.setattr(patterns, "ENTRIES_LIMIT", 3)
    finder.look()
    assert "more than 3 directory entries" in "".join(finder.problems.values())


# --- the ring -----------------------------------------------------------------------------------------------------


@given(st.integers(16, 40), st.lists(st.sampled_from([1, 4, 5, 8, 12, 16, None, None]), min_size=20, max_size=80))
def test_the_ring_gives_back_what_was_put_in_and_never_grows(size: int, steps: list[int | None]) -> None:
    ring, kept, number = Ring(size), deque[tuple[memoryview, bytes]](), 0
    for step in steps:
        if step is None:
            if kept:
                view, data = kept.popleft()
                assert bytes(view) == data
                ring.release()
        elif room := ring.reserve(step, min(step, 4)):
            assert min(step, 4) <= len(room) <= step
            number += 1
            data = bytes([number % 256]) * max(1, len(room) - number % 3)
            room[: len(data)] = data
            kept.append((ring.commit(len(data)), data))
        assert ring.size == size
        assert ring.used == sum(len(data) for _, data in kept) <= size
    for view, data in kept:
        assert bytes(view) == data


@given(st.integers(16, 64), st.data())
def test_what_is_a_quarter_of_the_ring_finds_room_as_soon_as_it_is_empty(size: int, data: st.DataObject) -> None:
    ring = Ring(size)
    for _ in range(20):
        want = data.draw(st.integers(1, size // 4))
        assert ring.reserve(want, want) is not None
        ring.commit(want)
        ring.release()


# --- entries ------------------------------------------------------------------------------------------------------


def split(entries: Entries, data: bytes) -> list[bytes]:
    return [piece for pieces, _ in entries.split(data) for piece in pieces]


@given(st.lists(st.binary(max_size=200).filter(lambda line: b"\n" not in line), max_size=20), st.binary(max_size=20))
def test_lines_are_cut_into_pieces_that_are_not_too_long_and_nothing_is_lost(lines: list[bytes], rest: bytes) -> None:
    rest = rest.replace(b"\n", b"")
    entries, data = Entries(Multiline(), 64), b"".join(line + b"\n" for line in lines) + rest
    whole = entries.complete(data)
    assert data[whole:] == rest
    pieces = split(entries, data[:whole])
    assert all(0 < len(piece) <= 64 for piece in pieces)
    assert b"".join(pieces) == b"".join(line.strip(b"\r\n\0") for line in lines)
    ends = [end for _, end in entries.split(data[:whole])]
    assert ends == sorted(ends)
    assert ends[-1:] == ([whole] if whole else [])


@given(st.text(min_size=70, max_size=200))
def test_no_character_is_cut_apart(text: str) -> None:
    text = text.replace("\n", "").strip("\r\0")
    pieces = split(Entries(Multiline(), 64), text.encode() + b"\n")
    assert "".join(piece.decode() for piece in pieces) == text


def test_entries_begin_or_end_where_a_pattern_matches() -> None:
    starts = Entries(Multiline(line_start_pattern=r"^\d+ "), 64)
    data = b"1 first\n  more\n2 second\n3 th"
    assert starts.complete(data) == data.index(b"3 th")
    assert split(starts, data) == [b"1 first\n  more", b"2 second", b"3 th"]
    ends = Entries(Multiline(line_end_pattern=r";$"), 64)
    data = b"a\nb;\nc;\nd"
    assert ends.complete(data) == data.index(b"\nd")
    assert split(ends, data[: ends.complete(data)]) == [b"a\nb;", b"c;"]


# --- records ------------------------------------------------------------------------------------------------------

PARSE = Parse(regex=r"^(?P<time>\S+ \S+) (?P<severity>\w+) \[(?P<thread>\w+)\] (?P<body>.*)$")


def test_named_groups_become_time_severity_body_and_attributes() -> None:
    made = Records(PARSE).record(b"2026-11-26 10:50:39,250 Warn [main] it rains", {"log.file.name": "a"}, 7)
    assert (made.time, made.severity, made.severity_text, made.body) == (1795690239_250000000, 13, "Warn", "it rains")
    assert (made.attributes, made.observed_time) == ({"log.file.name": "a", "thread": "main"}, 7)


def test_what_does_not_match_is_told_as_it_is_and_bad_bytes_are_replaced() -> None:
    made = Records(PARSE).record(b"  Traceback \xff", {}, 7)
    assert (made.time, made.severity, made.body) == (0, 0, "  Traceback \ufffd")
    made = Records(PARSE).record(b"2026-11-26 10:50:39 STRANGE [x] y", {}, 7)
    assert (made.severity, made.severity_text, made.body) == (0, "STRANGE", "y")
    made = Records(PARSE).record(b"2026-99-26 10:50:39 ERROR [x] y", {}, 7)
    assert (made.time, made.severity, made.body) == (0, 0, "2026-99-26 10:50:39 ERROR [x] y")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01 01:00:01.5+01:00", 1.5),
        ("1970-01-01T00:00:01,25", 1.25),
        ("1969-12-31T23:00:02-0100", 2.0),
    ],
)
def test_times_are_read_as_loggers_write_them(text: str, seconds: float) -> None:
    assert iso(text) == seconds * NANO


def test_a_time_without_a_year_is_of_the_last_months() -> None:
    january = 1_767_312_000 * NANO  # 2026-01-02
    records = Records(Parse(regex=r"^(?P<time>\w+ +\d+ [\d:]+) (?P<body>.*)", layout="%b %d %H:%M:%S"))
    assert records.record(b"Jan  2 00:00:00 x", {}, january).time == january
    assert records.record(b"Dec 31 00:00:00 x", {}, january).time == january - 2 * 86400 * NANO


@given(st.binary(max_size=60), st.integers(0, 2**62))
def test_any_bytes_are_a_record_that_can_be_sent(entry: bytes, observed: int) -> None:
    for parse in (
        Parse(),
        Parse(regex=r"(?P<time>\d[\d :T-]*)"),
        Parse(regex=r"(?P<time>\d+)(?P<severity>.?)", layout="%d"),
        Parse(regex=r"(?P<time>\d+)", layout="%Y"),
    ):
        made = Records(parse).record(entry, {}, observed)
        assert 0 <= made.time < LATEST
        str(made.body).encode()


# --- identity and positions ---------------------------------------------------------------------------------------


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_fingerprint_is_that_of_all_files_that_begin_so(head: bytes, rest: bytes) -> None:
    mark = fingerprint(head)
    assert mark.matches(head + rest)
    assert mark.matches(rest) == rest.startswith(head)


def test_what_a_packer_has_made_is_known_by_its_first_bytes() -> None:
    assert all(is_compressed(pack(b"x" * 100)) for pack in (gzip.compress, bz2.compress, lzma.compress))
    assert not is_compressed(b"2026-11-26 a line\n")


POSITIONS = st.builds(
    Position,
    st.tuples(st.integers(0, 3), st.integers(0, 2**63)),
    st.integers(0, 2**63),
    st.binary(min_size=1, max_size=9).filter(lambda path: b"\0" not in path).map(os.fsdecode),
    st.text("ab", min_size=1, max_size=3),
    st.binary(max_size=20).map(fingerprint),
)


@given(st.lists(POSITIONS, max_size=5), st.lists(st.lists(POSITIONS, max_size=3), max_size=5), st.data())
def test_the_last_word_on_a_file_counts_also_when_the_line_behind_it_is_torn(
    first: list[Position], later: list[list[Position]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        offsets = Offsets(directory, "filelog/a b")
        assert offsets.load() == (None, "")
        offsets.rewrite(first)
        for changes in later:
            assert offsets.append(changes)
        offsets.append([Position((9, 9), 9, "x", "x")])
        offsets.append([Position((9, 9), None)])
        offsets.close()
        path = Path(offsets.path)
        whole = path.read_bytes()
        path.write_bytes(whole + whole[: data.draw(st.integers(0, max(0, whole.find(b"\n"))))])
        known = {one.inode: one for part in [first, *later] for one in part}
        positions, damage = offsets.load()
        assert damage == ""
        assert positions is not None
        assert {one.inode: one for one in positions} == known


@given(st.binary(max_size=300))
def test_any_bytes_are_positions_or_damage(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        offsets = Offsets(directory, "filelog")
        Path(offsets.path).write_bytes(content)
        positions, damage = offsets.load()
        assert positions == []
        assert bool(damage) == bool(content)


@given(st.lists(POSITIONS, min_size=2, max_size=5, unique_by=lambda one: one.inode), st.data())
def test_a_damaged_line_costs_itself_alone(positions: list[Position], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        offsets = Offsets(directory, "filelog")
        offsets.rewrite(positions)
        offsets.close()
        lines = Path(offsets.path).read_bytes().splitlines(keepends=True)
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = b"~" + lines[at][1:]
        Path(offsets.path).write_bytes(b"".join(lines))
        found, damage = offsets.load()
        assert found == [*positions[:at], *positions[at + 1 :]]
        assert f"1 of {len(lines)} lines are damaged" in damage


def test_positions_are_rewritten_before_the_file_is_large_and_a_full_disk_leaves_it_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets, one = Offsets(str(tmp_path), "filelog"), Position((1, 2), 3, "/x", "/x", Fingerprint(1, "a"))
    assert not offsets.append([one])
    offsets.rewrite([one])
    assert not all(offsets.append([one] * 100) for _ in range(100))
    offsets.rewrite([one])
    before = Path(offsets.path).read_bytes()
    assert len(before) < 200
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(StorageError, match="10 of"):
        offsets.append([one])
    assert Path(offsets.path).read_bytes() == before
