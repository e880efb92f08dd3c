"""`reported`: what a board signed is read back; whatever anybody else made ends in a named error."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner
from trust_fleet import DEVICE, Fleet, deflate, dump, opened

from edgesync.trust.report import PAYLOAD_TYPE, sign_reported, verify_reported
from edgesync.wire import codec
from edgesync.wire.errors import (
    ConfigError,
    ForgedMessageError,
    MalformedMessageError,
    MessageTooLargeError,
    StaleMessageError,
)
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Reported

REMOTE = (MessageTooLargeError, MalformedMessageError, ForgedMessageError, StaleMessageError)


def verify(fleet: Fleet, message: bytes) -> Reported:
    return verify_reported(message, DEVICE, fleet.board_key)


def envelope(payload: bytes, signer: CryptoSigner, payload_type: str = PAYLOAD_TYPE) -> bytes:
    made = Envelope(payload, payload_type, {})
    made.sign(signer)
    return dump(made.to_dict())


def test_the_server_reads_exactly_what_the_board_signed(fleet: Fleet, reported: Reported) -> None:
    assert verify(fleet, sign_reported(reported, fleet.board)) == reported


def test_a_full_report_takes_less_than_1_kib(fleet: Fleet, reported: Reported) -> None:
    assert len(sign_reported(reported, fleet.board)) < 1024


@pytest.mark.parametrize("signer", ["stranger", "director", "root_signer"])
def test_a_key_that_is_not_the_boards(fleet: Fleet, reported: Reported, signer: str) -> None:
    with pytest.raises(ForgedMessageError):
        verify(fleet, sign_reported(reported, getattr(fleet, signer)))


def test_a_strangers_signature_under_the_boards_key_id(fleet: Fleet, reported: Reported) -> None:
    value = opened(sign_reported(reported, fleet.stranger))
    value["signatures"][0]["keyid"] = fleet.board.public_key.keyid
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump(value))


def test_another_boards_report_on_this_boards_topic(fleet: Fleet, reported: Reported) -> None:
    for other in ("acme.b2", "other.b1"):
        moved = sign_reported(replace(reported, device=DeviceId(other)), fleet.board)
        with pytest.raises(StaleMessageError, match=other):
            verify(fleet, moved)


def test_a_tampered_payload(fleet: Fleet, reported: Reported) -> None:
    value = opened(sign_reported(reported, fleet.board))
    payload = codec.canonical({**reported.to_dict(), "confirmed": not reported.confirmed})
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({**value, "payload": base64.b64encode(payload).decode()}))


def test_no_signature(fleet: Fleet, reported: Reported) -> None:
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({**opened(sign_reported(reported, fleet.board)), "signatures": []}))


def test_a_second_signature_of_a_stranger_neither_helps_nor_harms(fleet: Fleet, reported: Reported) -> None:
    own, theirs = (opened(sign_reported(reported, key)) for key in (fleet.board, fleet.stranger))
    assert verify(fleet, dump({**own, "signatures": own["signatures"] + theirs["signatures"]})) == reported
    with pytest.raises(MalformedMessageError):
        verify(fleet, dump({**own, "signatures": own["signatures"] * 2}))


def test_something_else_that_the_board_signed_is_no_report(fleet: Fleet, reported: Reported) -> None:
    payload = codec.canonical(reported.to_dict())
    with pytest.raises(MalformedMessageError, match="payloadType"):
        verify(fleet, envelope(payload, fleet.board, "application/vnd.edgesync.other+json"))
    value = opened(envelope(payload, fleet.board, "application/vnd.edgesync.other+json"))
    with pytest.raises(ForgedMessageError):
        verify(fleet, dump({**value, "payloadType": PAYLOAD_TYPE}))


def test_a_desired_state_in_place_of_a_report(fleet: Fleet, message: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        verify(fleet, message)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"{}",
        b"[" * 30_000,
        b'{"device":"acme.b1"}',
        b'{"device":"acme.b1","counter":-1}',
        b'{"device":"acme.b1","counter":1e400}',
        b"\xff\xfe",
        b'{"device":"acme.b1","counter":1,"boot_id":"\\ud800","slot":"a","phase":"idle"}',
        b'{"device":"acme.b1","counter":1,"boot_id":"\\u0000","slot":"a","phase":"idle"}',
        b'{"device":"acme.b1","counter":1,"boot_id":"x","slot":"a","phase":"idle","images":{"\\udfff":""}}',
    ],
)
def test_nonsense_that_the_board_itself_signed(fleet: Fleet, payload: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        verify(fleet, envelope(payload, fleet.board))


def test_a_huge_message_and_a_bomb(fleet: Fleet, reported: Reported) -> None:
    message = sign_reported(reported, fleet.board)
    with pytest.raises(MessageTooLargeError):
        verify(fleet, message + bytes(codec.PACKED_LIMIT))
    with pytest.raises(MessageTooLargeError):
        verify(fleet, deflate(codec.unpack(message) + bytes(7_000_000)))


def test_a_public_key_that_is_none_is_the_operators_fault(fleet: Fleet, reported: Reported) -> None:
    with pytest.raises(ConfigError, match="public key"):
        verify_reported(sign_reported(reported, fleet.board), DEVICE, "none")


def test_every_truncation(fleet: Fleet, reported: Reported) -> None:
    message = sign_reported(reported, fleet.board)
    for length in range(len(message)):
        with pytest.raises(MalformedMessageError):
            verify(fleet, message[:length])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "payload": json_values | st.binary(max_size=30).map(lambda data: base64.b64encode(data).decode()),
        "payloadType": json_values | st.just(PAYLOAD_TYPE),
        "signatures": json_values
        | st.lists(st.fixed_dictionaries({}, optional={"keyid": json_values, "sig": json_values}), max_size=3),
    },
)


@given(st.binary(max_size=400) | st.binary(max_size=400).map(deflate) | json_values.map(dump) | envelopes.map(dump))
def test_any_bytes_end_in_a_named_error(fleet: Fleet, data: bytes) -> None:
    with pytest.raises(REMOTE):
        verify(fleet, data)


@given(key=st.sampled_from(Reported.__slots__), value=json_values)
def test_any_json_that_the_board_signed_is_accepted_or_ends_in_a_named_error(
    fleet: Fleet, reported: Reported, key: str, value: Any
) -> None:
    payload = json.dumps({**reported.to_dict(), key: value}).encode()
    try:
        found = verify(fleet, envelope(payload, fleet.board))
        assert found.device == DEVICE
        codec.canonical(found.to_dict())  # whatever was accepted can be stored
    except REMOTE:
        pass
