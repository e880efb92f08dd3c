"""YAML, expansion, merging and binding: strict, bounded, in the Collector's words."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collector_ext.ids import ComponentId
from collector_ext.settings.bind import Problems, Secret, bind, redacted, validate
from collector_ext.settings.compose import FILE_LIMIT, compose
from collector_ext.settings.durations import UNITS, Duration, parse_duration
from collector_ext.settings.load import load
from collector_ext.settings.nodes import Node, Table, from_json, merged, plain, to_json
from collector_ext.settings.worker import read
from edgesync.wire.errors import ConfigError, StorageError


def tree(text: str, directory: str = "/nowhere", **environment: str) -> Any:
    """What a text says, as ordinary values."""
    return plain(from_json(read(["c.yaml"], [text.encode()], directory, environment)["tree"]))


def node(text: str) -> Node:
    return compose("c.yaml", text.encode())


# --- YAML ---------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_what_yaml_writes_is_read_back_with_its_types(value: dict[str, Any]) -> None:
    text = yaml.safe_dump(value)
    assert plain(from_json(to_json(compose("c.yaml", text.encode())))) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_a_named_error(data: bytes) -> None:
    with contextlib.suppress(ConfigError, StorageError):
        assert "table" in read(["c.yaml"], [data], "/nowhere", {})["tree"]


def test_a_bomb_of_aliases_is_an_error_and_a_modest_alias_is_not() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + at)}: &{chr(98 + at)} [{','.join([f'*{chr(97 + at)}'] * 10)}]\n" for at in range(8)
    )
    with pytest.raises(ConfigError, match=r"c.yaml:5: more than 20000 values, aliases written out"):
        tree(bomb)
    assert tree("a: &a {b: 1}\nc: *a") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", r"c.yaml:\d: not YAML"),
        ("a: *b", r"c.yaml:1: found \*b, expected an anchor"),
        ("a: &a [*a]", r"c.yaml:1: found \*a, expected an anchor that is complete before it"),
        ("a: !!python/object:os.system x", "c.yaml:1: found the tag"),
        ("a: 1\na: 2", "c.yaml:2: the key 'a' a second time"),
        ("[1]: 2", "c.yaml:1: found a list, mapping or alias as a key"),
        ("- a", "c.yaml:1: found a list of 1, expected a mapping"),
        ("a: 1\n---\nb: 2", "c.yaml:2: found a second document"),
        ("[" * 40 + "]" * 40, "c.yaml:1: more than 32 levels"),
        ("a: " + "x" * FILE_LIMIT, f"c.yaml: {FILE_LIMIT + 3} bytes, at most {FILE_LIMIT}"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tree(text)


# --- expansion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:PORT}", 4317),
        ("${PORT}", 4317),
        ("http://${env:HOST:-127.0.0.1}:${PORT}", "http://127.0.0.1:4317"),
        ("${env:NONE:-5}", 5),
        ("${env:NONE:-}", ""),
        ("${env:LIST}", ["a", "b"]),
        ("$${env:PORT}", "${env:PORT}"),
        ("a $$ b", "a $ b"),
        ("$PORT", "$PORT"),
        ("${env:${WHICH}}", "4317"),
        ("${env:NOT_YAML}", "{"),
    ],
)
def test_expansion(text: str, value: Any) -> None:
    environment = {"PORT": "4317", "LIST": "[a, b]", "WHICH": "PORT", "NOT_YAML": "{"}
    assert tree(f'a: "{text}"', **environment) == {"a": value}


def test_a_variable_that_is_not_set_is_empty_and_a_warning() -> None:
    answer = read(["c.yaml"], [b"a: ${env:GONE}"], "/nowhere", {})
    assert answer["warnings"] == ["c.yaml:1: configuration references unset environment variable GONE"]
    assert plain(from_json(answer["tree"])) == {"a": ""}


def test_a_file_is_read_beside_the_first_one_and_may_be_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "tls.yaml").write_text("ca: /ca.pem\nmin: ${env:MIN}\n")
    (tmp_path / "token").write_text("s3cret\n")
    found = tree("tls: ${file:tls.yaml}\ntoken: ${file:token}", str(tmp_path), MIN="1.3")
    assert found == {"tls": {"ca": "/ca.pem", "min": 1.3}, "token": "s3cret"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ${env:1A}", "c.yaml:1: environment variable '1A' has invalid name: must match regex"),
        ("a: ${http://x}", "c.yaml:1: scheme 'http' is not supported"),
        ("a: ${file:gone}", "gone: No such file"),
        ("a: x${env:LOOP}", "c.yaml:1: more than 1000 expansions"),
        ("a: ${env:NEST}", "more than 10 expansions within one another"),
        ("a: x${env:GROW}", "characters after expansion|more than 1000 expansions"),
    ],
)
def test_an_expansion_that_cannot_be_is_a_named_error(text: str, message: str) -> None:
    environment = {"LOOP": "${env:LOOP}", "NEST": "[ '${env:NEST}' ]", "GROW": "y" * 1000 + "${env:GROW}${env:GROW}"}
    with pytest.raises((ConfigError, StorageError), match=message):
        tree(text, **environment)


# --- merging ------------------------------------------------------------------------------------------------------


def test_maps_are_merged_deep_and_lists_replaced() -> None:
    below, above = node("a: {b: 1, c: [1, 2]}\nd: 1"), node("a: {b: 2, c: [3], e: null}\nf: null")
    assert plain(merged(below, above)) == {"a": {"b": 2, "c": [3], "e": None}, "d": 1, "f": None}


def test_a_null_body_in_a_later_file_keeps_what_an_earlier_one_said() -> None:
    assert plain(merged(node("batch: {timeout: 1s}"), node("batch:"))) == {"batch": {"timeout": "1s"}}


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_merging_a_configuration_with_itself_changes_nothing(value: dict[str, Any]) -> None:
    one = node(yaml.safe_dump(value))
    assert plain(merged(one, one)) == plain(one)


def test_several_files_are_read_by_the_worker_and_merged_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: {b: 1, c: [1]}")
    (tmp_path / "b.yaml").write_text("a: {c: [2]}")
    (tmp_path / "empty.yaml").write_text("")
    paths = [str(tmp_path / name) for name in ("a.yaml", "b.yaml", "empty.yaml")]
    assert plain(asyncio.run(load(paths))) == {"a": {"b": 1, "c": [2]}}


def test_errors_of_the_worker_name_the_file_and_101_files_are_too_many(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(ConfigError, match=f"{broken}:2: not YAML"):
        asyncio.run(load([str(broken)]))
    with pytest.raises(StorageError, match=r"gone\.yaml: No such file"):
        asyncio.run(load([str(tmp_path / "gone.yaml")]))
    with pytest.raises(ConfigError, match="found 101 --config files, expected 1 to 100"):
        asyncio.run(load([str(broken)] * 101))


# --- durations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("100ms", 0.1), ("0", 0), ("-2s", -2), (".5s", 0.5), ("1h0m1s", 3601)],
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1 s", "--1s", "1s2", "9999999h", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time: (missing unit in|invalid) duration"):
        parse_duration(text)


@given(st.lists(st.tuples(st.integers(0, 10**4), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert parse_duration(text) == pytest.approx(sum(count * UNITS[unit] for count, unit in parts))


# --- binding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tls:
    insecure: bool = False
    ca: str = ""

    def validate(self) -> None:
        if self.insecure and self.ca:
            raise ConfigError("insecure and ca exclude each other")


@dataclass(frozen=True, slots=True)
class Example:
    endpoint: str = "localhost:1"
    retries: int = 3
    ratio: float = 0.5
    interval: Duration = Duration(30.0)
    compression: Literal["none", "gzip"] = "gzip"
    token: Secret = Secret("")
    auth: ComponentId | None = None
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Tls, ...] = ()
    anything: Mapping[str, Any] = field(default_factory=dict)


def bound(text: str) -> tuple[Example, list[str]]:
    problems = Problems()
    one = node(text)
    config = bind(Example(), one, "exporters::x", problems)
    validate(config, one, "exporters::x", problems)
    return config, problems.lines


def test_every_kind_of_field_is_bound() -> None:
    config, problems = bound(
        "{endpoint: 1.10, retries: 0x10, ratio: 1, interval: 1m30s, compression: none, token: hush, auth: oauth/a, "
        "tls: {ca: x}, headers: {a: 1}, parts: [{insecure: true}, null], anything: {a: [1, x, true, 1.5]}}"
    )
    assert problems == []
    assert config == Example(
        endpoint="1.10",
        retries=16,
        ratio=1.0,
        interval=Duration(90.0),
        compression="none",
        token=Secret("hush"),
        auth=ComponentId("oauth", "a"),
        tls=Tls(ca="x"),
        headers={"a": "1"},
        parts=(Tls(insecure=True), Tls()),
        anything={"a": [1, "x", True, 1.5]},
    )


def test_a_null_is_the_default_and_for_an_optional_part_its_defaults() -> None:
    assert bound("") == (Example(), [])
    assert bound("{endpoint: null, retries: , tls: }") == (Example(tls=Tls()), [])


def test_everything_that_is_wrong_is_told_at_once_with_line_and_path() -> None:
    config, problems = bound(
        "endpont: x\nretries: 1.5\ninterval: 30\ncompression: zip\ntls: {insecure: true, ca: x}\nparts: [{x: 1}]"
    )
    assert config == Example(tls=Tls(insecure=True, ca="x"), parts=(Tls(),))
    assert [line.partition(" (known")[0] for line in problems] == [
        "c.yaml:1: exporters::x: has invalid keys: endpont",
        "c.yaml:2: exporters::x::retries: found '1.5', expected a whole number",
        "c.yaml:3: exporters::x::interval: time: missing unit in duration '30'",
        "c.yaml:4: exporters::x::compression: found 'zip', expected one of none, gzip",
        "c.yaml:6: exporters::x::parts[0]: has invalid keys: x",
        "c.yaml:5: exporters::x::tls: insecure and ca exclude each other",
    ]


def test_at_most_50_problems_are_shown() -> None:
    problems = Problems()
    for at in range(60):
        problems.add(None, str(at), "wrong")
    with pytest.raises(ConfigError) as raised:
        problems.raise_any()
    assert str(raised.value).splitlines()[-1] == "... and 10 more"


def test_secrets_are_never_shown() -> None:
    config = Example(token=Secret("hush"))
    assert "hush" not in repr(config)
    assert redacted(config)["token"] == "[REDACTED]"
    assert redacted(Example())["token"] == ""


@given(VALUES)
def test_any_value_for_any_field_binds_or_is_a_problem(value: Any) -> None:
    for name in (one.name for one in dataclasses.fields(Example)):
        tree = compose("c.yaml", yaml.safe_dump({name: value}).encode())
        assert isinstance(tree, Table)
        problems = Problems()
        config = bind(Example(), tree, "x", problems)
        assert problems.lines or value is None or getattr(config, name) is not None
