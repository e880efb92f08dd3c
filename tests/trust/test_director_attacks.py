"""The attacks on `desired` by name. Each must end in the named error, before anything that it says is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_fleet import DAY, DEVICE, NOW, Fleet, deflate, dump, opened, signature, signed_anew, verify
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from edgesync.trust import director, report
from edgesync.wire import codec
from edgesync.wire.errors import (
    ConfigError,
    EdgesyncError,
    ForgedMessageError,
    MalformedMessageError,
    MessageTooLargeError,
    StaleMessageError,
)
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Desired, Reported

REMOTE = (MessageTooLargeError, MalformedMessageError, ForgedMessageError, StaleMessageError)


def test_rollback(fleet: Fleet, desired: Desired, message: bytes) -> None:
    with pytest.raises(StaleMessageError, match="version 7, expected 8"):
        verify(fleet, message, floor=desired.version + 1)


def test_freeze_with_an_expired_message(fleet: Fleet, message: bytes) -> None:
    for late in (NOW + DAY, NOW + DAY + 0.5, NOW + 3000 * DAY):
        with pytest.raises(StaleMessageError, match="expired"):
            verify(fleet, message, now=late)


@pytest.mark.parametrize("other", ["acme.b2", "other.b1"])
def test_another_devices_or_another_fleets_message(fleet: Fleet, desired: Desired, other: str) -> None:
    theirs = director.sign_desired(replace(desired, device=DeviceId(other)), fleet.director, NOW + DAY)
    with pytest.raises(StaleMessageError, match=other):
        verify(fleet, theirs)


@pytest.mark.parametrize("role", ["stranger", "board", "root_signer"])
def test_a_key_that_is_not_the_directors(fleet: Fleet, desired: Desired, role: str) -> None:
    with pytest.raises(ForgedMessageError):
        verify(fleet, director.sign_desired(desired, getattr(fleet, role), NOW + DAY))


def test_a_strangers_signature_under_the_directors_key_id(fleet: Fleet, message: bytes) -> None:
    signed = opened(message)["signed"]
    claimed = signature(signed, fleet.stranger, fleet.director.public_key.keyid)
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({"signatures": [claimed], "signed": signed}))


def test_no_signature(fleet: Fleet, message: bytes) -> None:
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({"signatures": [], "signed": opened(message)["signed"]}))


def test_a_signature_of_another_message(fleet: Fleet, desired: Desired, message: bytes) -> None:
    newer = director.sign_desired(replace(desired, version=8), fleet.director, NOW + DAY)
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({"signatures": opened(message)["signatures"], "signed": opened(newer)["signed"]}))


def test_a_second_signature_of_a_stranger_neither_helps_nor_harms(
    fleet: Fleet, desired: Desired, message: bytes
) -> None:
    value = opened(message)
    extra = signature(value["signed"], fleet.stranger)
    assert verify(fleet, dump({**value, "signatures": [*value["signatures"], extra]})) == desired
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({**value, "signatures": [extra, signature(value["signed"], fleet.board)]}))


def test_a_signature_that_stands_twice(fleet: Fleet, message: bytes) -> None:
    value = opened(message)
    with pytest.raises(MalformedMessageError):
        verify(fleet, dump({**value, "signatures": value["signatures"] * 2}))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each scalar of a JSON value."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, inner in enumerate(value) for leaf in leaves(inner, (*path, key))]
    return [path]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def test_any_one_field_tampered_with(fleet: Fleet, message: bytes) -> None:
    value = opened(message)
    paths = leaves(value)
    assert len(paths) > 20
    for path in paths:
        old = value
        for key in path:
            old = old[key]
        other = old + 1 if isinstance(old, int) else ("0" if old[:1] != "0" else "1") + old[1:]
        with pytest.raises((ForgedMessageError, MalformedMessageError)):
            verify(fleet, dump(changed(value, path, other)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":7', b'"version":9,"version":7'),
        (b'"version":7', b'"version":7,"version":9'),
        (b'"device":', b'"device":"acme.b2","device":'),
        (b'{"signatures":', b'{"signatures":[],"signatures":'),
        (b'{"signatures":', b'{"signed":{},"signatures":'),
    ],
)
def test_a_member_that_stands_twice(fleet: Fleet, message: bytes, old: bytes, new: bytes) -> None:
    plain = codec.unpack(message)
    assert old in plain
    with pytest.raises(MalformedMessageError):
        verify(fleet, deflate(plain.replace(old, new, 1)))


def test_the_same_json_in_another_form(fleet: Fleet, message: bytes) -> None:
    for other in (
        json.dumps(opened(message)),
        json.dumps(opened(message), indent=1),
        json.dumps(opened(message)) + " ",
    ):
        with pytest.raises(MalformedMessageError, match="another order"):
            verify(fleet, deflate(other.encode()))


def test_a_huge_message(fleet: Fleet, message: bytes) -> None:
    with pytest.raises(MessageTooLargeError):
        verify(fleet, message + bytes(codec.PACKED_LIMIT))


def test_a_zip_bomb(fleet: Fleet, message: bytes) -> None:
    bomb = deflate(codec.unpack(message) + bytes(7_000_000))
    assert len(bomb) < codec.PACKED_LIMIT
    with pytest.raises(MessageTooLargeError, match="inflates"):
        verify(fleet, bomb)


@pytest.mark.parametrize("depth", [100, 500, 900, 1000, 10_000, 30_000])
@pytest.mark.parametrize("around", ["%s", '{"signatures":[],"signed":%s}', '{"signatures":[],"signed":{"x":%s}}'])
def test_deep_json(fleet: Fleet, message: bytes, depth: int, around: str) -> None:
    deep = "[" * depth + "]" * depth
    with pytest.raises(MalformedMessageError):
        verify(fleet, deflate((around % deep).encode()))
    value = opened(message)
    value["signed"]["x"] = "here"
    nested = json.dumps(value, sort_keys=True, separators=(",", ":")).replace('"here"', deep)
    with pytest.raises(REMOTE):
        verify(fleet, deflate(nested.encode()))


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", "-1", "NaN", "1.5", '"7"', "null", "true", "[]"])
def test_a_version_that_is_no_number(fleet: Fleet, message: bytes, number: str) -> None:
    plain = codec.unpack(message).replace(b'"version":7', b'"version":' + number.encode())
    with pytest.raises((MalformedMessageError, ForgedMessageError)):
        verify(fleet, deflate(plain))


def test_metadata_of_another_role_signed_by_the_director(fleet: Fleet) -> None:
    for signed in (Snapshot(), Timestamp()):
        metadata = Metadata(signed)
        metadata.sign(fleet.director)
        with pytest.raises(MalformedMessageError, match="expected 'targets'"):
            verify(fleet, deflate(metadata.to_bytes()))
    with pytest.raises(MalformedMessageError, match="expected 'targets'"):
        verify(fleet, deflate(fleet.root))


def test_a_report_in_place_of_a_desired_state(fleet: Fleet, reported: Reported) -> None:
    with pytest.raises(MalformedMessageError):
        verify(fleet, report.sign_reported(reported, fleet.director))


@pytest.mark.parametrize(
    "change",
    [
        lambda signed: signed.pop("edgesync"),
        lambda signed: signed["edgesync"].pop("device"),
        lambda signed: signed.update(edgesync=[]),
        lambda signed: signed["edgesync"].update(hold="now"),
        lambda signed: signed["edgesync"].update(device="acme.b1/#"),
        lambda signed: signed["edgesync"].update(retry=-1),
        lambda signed: signed.update(targets={}),
        lambda signed: signed["targets"]["root"].pop("custom"),
        lambda signed: signed["targets"]["root"].update(custom="x"),
        lambda signed: signed["targets"]["root"]["custom"].update(source="x"),
        lambda signed: signed["targets"]["root"]["custom"]["source"].update(kind="script"),
        lambda signed: signed["targets"]["root"]["custom"]["source"].pop("base"),
        lambda signed: signed["targets"]["root"].update(hashes={"sha512": "ab"}),
        lambda signed: signed["targets"]["root"].update(hashes={"sha256": "../x"}),
        lambda signed: signed["targets"]["root"].update(length=1 << 60),
        lambda signed: signed["targets"].update({f"c{n}": signed["targets"]["root"] for n in range(70)}),
        lambda signed: signed.update(version=True),
        lambda signed: signed.update(version=0),
        lambda signed: signed.update(expires="tomorrow"),
        lambda signed: signed.update(expires="9999-99-99T00:00:00Z"),
        lambda signed: signed.update(spec_version="2.0"),
        lambda signed: signed.update(_type="root"),
    ],
)
def test_nonsense_that_the_director_itself_signed(
    fleet: Fleet, message: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(MalformedMessageError):
        verify(fleet, signed_anew(message, fleet.director, change))


def test_every_single_bit_flipped(fleet: Fleet, desired: Desired, message: bytes) -> None:
    accepted = 0
    for at in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[at // 8] ^= 1 << at % 8
        try:
            assert verify(fleet, bytes(flipped)) == desired
            accepted += 1
        except REMOTE:
            pass
    assert accepted < 20  # bits of deflate that carry nothing: behind the end, or two ways to say the same


def test_every_truncation(fleet: Fleet, message: bytes) -> None:
    for length in range(len(message)):
        with pytest.raises(MalformedMessageError):
            verify(fleet, message[:length])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=400) | st.binary(max_size=400).map(deflate) | json_values.map(dump))
def test_any_bytes_end_in_a_named_error(fleet: Fleet, data: bytes) -> None:
    with pytest.raises(REMOTE):
        verify(fleet, data)


@given(st.data())
def test_any_json_in_place_of_any_part_ends_in_a_named_error(fleet: Fleet, data: st.DataObject) -> None:
    value = opened(director.sign_desired(SMALL, fleet.director, NOW + DAY))
    path = data.draw(st.sampled_from([leaf[:end] for leaf in leaves(value) for end in range(1, len(leaf) + 1)]))
    new = data.draw(json_values)
    bent = changed(value, path, new)
    if bent == value:
        return
    with pytest.raises(REMOTE):
        verify(fleet, dump(bent))


@given(st.data())
def test_any_json_that_the_director_signed_is_accepted_or_ends_in_a_named_error(
    fleet: Fleet, data: st.DataObject
) -> None:
    honest = director.sign_desired(SMALL, fleet.director, NOW + DAY)
    signed = opened(honest)["signed"]
    path = data.draw(st.sampled_from([leaf[:end] for leaf in leaves(signed) for end in range(1, len(leaf) + 1)]))
    new = data.draw(st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])))
    try:
        found = verify(fleet, signed_anew(honest, fleet.director, lambda s: s.update(changed(s, path, new))))
    except EdgesyncError:
        return
    assert found.device == DEVICE


SMALL = Desired(DEVICE, 7, "c0ffee", "r1", "2026.11.1", hold="stop")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda _, root: b"", "no TUF root"),
        (lambda _, root: b"[" * 60_000, "no TUF root"),
        (lambda _, root: root[:-1], "no TUF root"),
        (lambda _, root: root.replace(b'"threshold":1', b'"threshold":2'), "not signed"),
        (lambda _, root: root.replace(b'"version":1', b'"version":2'), "not signed"),
        (lambda fleet, root: director.create_root("ab" * 32, fleet.root_signer, NOW), "expired"),
        (
            lambda fleet, root: codec.unpack(director.sign_desired(SMALL, fleet.director, NOW + DAY)),
            "'targets' metadata",
        ),
    ],
)
def test_a_root_file_that_is_not_to_be_trusted(
    fleet: Fleet, message: bytes, spoil: Callable[[Fleet, bytes], bytes], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        director.verify_desired(message, spoil(fleet, fleet.root), DEVICE, 0, NOW)


def test_a_root_that_pins_another_director(fleet: Fleet, message: bytes) -> None:
    other = director.create_root(fleet.board_key, fleet.root_signer, NOW + DAY)
    with pytest.raises(ForgedMessageError):
        director.verify_desired(message, other, DEVICE, 0, NOW)
