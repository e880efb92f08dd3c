"""What of a board's words is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from edgesync.control.fleet import NOTE_EVERY, REFUSED_LIMIT, VERSION_LIMIT, FleetView
from edgesync.control.state import Heard, Presence
from edgesync.control.types import Board
from edgesync.trust import keys
from edgesync.trust.report import sign_reported
from edgesync.wire.errors import EdgesyncError, ForgedMessageError, MalformedMessageError, StaleMessageError
from edgesync.wire.ids import DeviceId, digest_of
from edgesync.wire.messages import Phase, Reported

DEVICE, OTHER = DeviceId("demo.b1"), DeviceId("demo.b2")


def signer() -> CryptoSigner:
    return keys.parse_signer(CryptoSigner.generate_ed25519().private_bytes, "test")


SIGNER, THIEF = signer(), signer()


def board(device: DeviceId = DEVICE, by: CryptoSigner = SIGNER) -> Board:
    return Board(device, "files", {}, str(by.public_key.keyval["public"]))


BOARDS = {DEVICE: board(), OTHER: board(OTHER, THIEF)}


def said(counter: int = 5, **other: object) -> Reported:
    report = Reported(DEVICE, counter, "boot", "a", confirmed=True, images={"root": digest_of(b"x")}, phase=Phase.IDLE)
    return replace(report, **other)  # type: ignore[arg-type]


def view(counter: int | None = None) -> FleetView:
    return FleetView({} if counter is None else {DEVICE: Heard(board().key, counter)}, {}, {})


def test_a_good_report_is_believed_and_its_repetition_is_no_news() -> None:
    fleet = view()
    packed = sign_reported(said(), SIGNER)
    assert fleet.report(BOARDS, DEVICE, packed) == said()
    assert fleet.accept(BOARDS[DEVICE], said(), 1.0) == Heard(board().key, 5)
    assert fleet.report(BOARDS, DEVICE, packed) is None


def test_a_counter_that_does_not_grow_is_stale_whatever_it_says() -> None:
    fleet = view()
    fleet.accept(BOARDS[DEVICE], said(), 1.0)
    for report in (said(4), said(5, boot_id="another")):
        with pytest.raises(StaleMessageError, match="counter"):
            fleet.report(BOARDS, DEVICE, sign_reported(report, SIGNER))


def test_the_counter_survives_a_restart_and_a_new_key_begins_anew() -> None:
    with pytest.raises(StaleMessageError):
        view(9).report(BOARDS, DEVICE, sign_reported(said(8), SIGNER))
    assert view(5).report(BOARDS, DEVICE, sign_reported(said(5), SIGNER)) == said(5)
    renewed = {DEVICE: board(by=THIEF)}
    assert view(9).report(renewed, DEVICE, sign_reported(said(1), THIEF)) == said(1)


def test_another_board_s_key_topic_or_name_convinces_nobody() -> None:
    with pytest.raises(ForgedMessageError):
        view().report(BOARDS, DEVICE, sign_reported(said(), THIEF))
    with pytest.raises(StaleMessageError, match=r"demo\.b1"):
        view().report(BOARDS, OTHER, sign_reported(said(), THIEF))
    with pytest.raises(ForgedMessageError, match="declares no such board"):
        view().report(BOARDS, DeviceId("demo.zz"), sign_reported(said(), SIGNER))


def test_a_version_beyond_counting_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="version"):
        view().report(BOARDS, DEVICE, sign_reported(said(version=VERSION_LIMIT + 1), SIGNER))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_named_error_and_change_nothing(payload: bytes) -> None:
    fleet = view(5)
    with pytest.raises(EdgesyncError):
        fleet.report(BOARDS, DEVICE, payload)
    assert fleet.heard == {DEVICE: Heard(board().key, 5)}


def test_presence_is_told_when_it_changes_and_rubbish_is_refused() -> None:
    fleet = view()
    assert fleet.up(BOARDS, DEVICE, b"1", 1.0) == Presence(up=True, since=1.0)
    assert fleet.up(BOARDS, DEVICE, b"1", 2.0) is None
    assert fleet.up(BOARDS, DEVICE, b"0", 3.0) == Presence(up=False, since=3.0)
    assert fleet.up(BOARDS, DeviceId("demo.zz"), b"1", 3.0) is None
    with pytest.raises(MalformedMessageError, match="expected 0 or 1"):
        fleet.up(BOARDS, DEVICE, b"\xff" * 10_000, 4.0)


def test_a_flood_of_forgeries_is_counted_and_noted_once_a_minute() -> None:
    fleet = view()
    error = ForgedMessageError("no")
    noted = [fleet.refuse(DEVICE, error, float(second)) for second in range(int(NOTE_EVERY) + 1)]
    assert noted.count(True) == 2
    assert fleet.refused[DEVICE].count == len(noted)
    for number in range(2 * REFUSED_LIMIT):
        fleet.refuse(DeviceId(f"demo.x{number}"), error, 0.0)
    assert len(fleet.refused) == REFUSED_LIMIT


def test_the_rate_of_a_download_comes_from_two_reports_of_the_same_version() -> None:
    fleet = view()
    fleet.accept(BOARDS[DEVICE], said(1, version=1, done=0), 10.0)
    fleet.accept(BOARDS[DEVICE], said(2, version=1, done=8000), 12.0)
    assert fleet.progress[DEVICE].rate == 4000.0
    fleet.accept(BOARDS[DEVICE], said(21, version=1, done=9000), 12.01)
    assert fleet.progress[DEVICE].rate == 0.0, "they came together"
    fleet.accept(BOARDS[DEVICE], said(22, version=2, done=100), 13.0)
    assert fleet.progress[DEVICE].rate == 0.0
