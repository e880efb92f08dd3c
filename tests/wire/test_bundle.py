"""Bundles: the same config gives the same bytes, and nothing but those bytes is a bundle."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.wire import bundle as module
from edgesync.wire.bundle import Bundle, BundleFile, Settings, clashes, decode, encode, path_problem
from edgesync.wire.errors import EdgesyncError, MalformedMessageError, UnknownFormatError

NAMES = st.text(st.characters(categories=["Ll", "Nd"], include_characters="._-"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join).filter(lambda path: not path_problem(path))
FILES = st.builds(BundleFile, st.binary(max_size=60), st.integers(0, 0o777).map(lambda mode: mode | 0o400))
COMMANDS = st.lists(NAMES, max_size=module.COMMANDS_LIMIT).map(tuple)
SETTINGS = st.builds(
    Settings, COMMANDS, COMMANDS, COMMANDS, st.integers(0, module.PROBE_LIMIT), st.sampled_from(["heal", "report"])
)
BUNDLES = st.builds(
    Bundle, st.dictionaries(PATHS, FILES, max_size=6).filter(lambda files: not list(clashes(files))), SETTINGS
)
SOME = Bundle({"app/main.conf": BundleFile(b"speed = 1\n"), "run.sh": BundleFile(b"#!/bin/sh\n", 0o755)})


def made(files: object, content: bytes = b"", magic: bytes = b"esc1", settings: object = None) -> bytes:
    """A bundle with this table of files, right or not."""
    plain = {"check": [], "drift": "heal", "probe": [], "probe_seconds": 0, "reload": []}
    value = {"files": files, "settings": plain if settings is None else settings}
    header = json.dumps(value, separators=(",", ":")).encode()
    return struct.pack("<4sI", magic, len(header)) + header + content


@given(BUNDLES)
def test_a_bundle_survives_the_wire_and_does_not_depend_on_the_order_of_its_files(bundle: Bundle) -> None:
    data = encode(bundle)
    assert decode(data) == bundle
    assert encode(Bundle(dict(reversed(bundle.files.items())), bundle.settings)) == data


@given(BUNDLES, st.data())
def test_a_bundle_with_any_other_byte_is_another_bundle_or_a_named_error(bundle: Bundle, data: st.DataObject) -> None:
    spoilt = bytearray(encode(bundle))
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = decode(bytes(spoilt))
    except EdgesyncError:
        return
    assert encode(other) == spoilt


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"esc1" + data))
def test_any_bytes_are_a_bundle_or_a_named_error(data: bytes) -> None:
    try:
        assert encode(decode(data)) == data
    except EdgesyncError:
        return


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../../etc/passwd",
        "app/../../x",
        "app/./x",
        "app//x",
        "app/",
        "a\0b",
        "a\nb",
        "\x1b[2J",
        "a\\b",
        "x" * 201,
        "ü" * 101,
    ],
)
def test_a_path_that_could_leave_the_tree_or_lie_in_a_terminal_is_refused(path: str) -> None:
    with pytest.raises(MalformedMessageError, match="file"):
        encode(Bundle({path: BundleFile(b"")}))
    with pytest.raises(MalformedMessageError):
        decode(made([[path, 0o644, 0]]))


@pytest.mark.parametrize("mode", [0o4755, 0o1777, 0o10644, -1, 0o044, 0])
def test_a_mode_with_more_than_permissions_or_that_locks_its_owner_out_is_refused(mode: int) -> None:
    with pytest.raises(MalformedMessageError, match="mode"):
        decode(made([["x", mode, 0]]))


@pytest.mark.parametrize(
    "data",
    [
        made([["a", 0o644, 2]], b"x"),
        made([["a", 0o644, 1]], b"xy"),
        made([["b", 0o644, 0], ["a", 0o644, 0]]),
        made([["a", 0o644, 1], ["a", 0o644, 1]], b"xy"),
        made([["a", 0o644, 0], ["a/b", 0o644, 0]]),
        made([["a", True, 0]]),
        made([["a", 0o644]]),
        made([["a", 0o644, -1]]),
        made([["a", 0o644, 0, "owner"]]),
        made([[f"f{n}", 0o644, 0] for n in range(module.FILES_LIMIT + 1)]),
        made([], settings={"check": ["x" * 65], "drift": "heal", "probe": [], "probe_seconds": 0, "reload": []}),
        made([], settings={"check": [], "drift": "burn", "probe": [], "probe_seconds": 0, "reload": []}),
        made([], settings={"check": [], "drift": "heal", "probe": [], "probe_seconds": 3601, "reload": []}),
        made([], settings={}),
    ],
)
def test_a_table_that_is_not_what_an_encoder_writes_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        decode(data)


def test_a_bundle_of_another_version_is_told_from_a_malformed_one() -> None:
    with pytest.raises(UnknownFormatError, match="esc2"):
        decode(b"esc2" + encode(SOME)[4:])


def test_a_bundle_that_is_too_long_is_neither_written_nor_read() -> None:
    with pytest.raises(MalformedMessageError, match=str(module.BUNDLE_LIMIT)):
        encode(Bundle({"x": BundleFile(bytes(module.BUNDLE_LIMIT))}))
    with pytest.raises(MalformedMessageError, match=str(module.BUNDLE_LIMIT)):
        decode(bytes(module.BUNDLE_LIMIT + 1))
