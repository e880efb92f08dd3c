"""Topics: parsing undoes building, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.wire import ids, topics
from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.ids import BlobId
from edgesync.wire.topics import Topic

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
BLOB = BlobId("ab" * 16)
BLOBS = st.from_regex(r"[0-9a-f]{32}", fullmatch=True).map(BlobId)
NUMBERS = st.integers(0, 10**10 - 1)


def built(topic: Topic) -> str:
    assert topic.device or topic.blob
    if topic.device and not topic.blob:
        of_kind = {
            "desired": topics.desired,
            "reported": topics.reported,
            "up": topics.up,
            "telemetry": topics.telemetry,
        }
        return of_kind[topic.kind](topic.fleet, topic.device)
    assert topic.blob
    root = topics.config(topic.fleet, topic.device) if topic.device else topics.firmware(topic.fleet)
    if topic.kind == "index":
        return topics.index(root, topic.blob)
    if topic.kind == "leaf":
        return topics.leaf(root, topic.blob, topic.piece)
    return topics.block(root, topic.blob, topic.piece, topic.block)


@st.composite
def of_boards(draw: st.DrawFn) -> Topic:
    fleet = draw(LABELS)
    kind = draw(st.sampled_from(["desired", "reported", "up", "telemetry"]))
    return Topic(fleet, kind, device=ids.device_id(fleet, draw(LABELS)))


@st.composite
def of_blobs(draw: st.DrawFn) -> Topic:
    fleet = draw(LABELS)
    device = ids.device_id(fleet, draw(LABELS)) if draw(st.booleans()) else None
    match draw(st.sampled_from(["index", "leaf", "block"])):
        case "index":
            return Topic(fleet, "index", device, draw(BLOBS))
        case "leaf":
            return Topic(fleet, "leaf", device, draw(BLOBS), draw(NUMBERS))
    return Topic(fleet, "block", device, draw(BLOBS), draw(NUMBERS), draw(NUMBERS))


TOPICS = of_boards() | of_blobs()
PARTS = st.sampled_from(
    [
        "",
        "es1",
        "acme",
        "d",
        "b",
        "acme.b1",
        "desired",
        "reported",
        "up",
        BLOB,
        "index",
        "0",
        "007",
        "+",
        "#",
        "٣",
        "kick",
        "c",
        "t",
    ]
)


@given(TOPICS)
@example(Topic("acme", "block", blob=BLOB, piece=0, block=0))
def test_parsing_undoes_building(topic: Topic) -> None:
    assert topics.parse(built(topic)) == topic


@given(
    st.lists(PARTS, max_size=8).map("/".join)
    | st.text(max_size=80)
    | st.tuples(TOPICS.map(built), st.integers(0, 90), st.text(max_size=2)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]
    )
)
@example(f"es1/acme/b/{BLOB}/007/0")
@example(f"es1/acme/b/{BLOB}/+/0")
@example(f"es1//b/{BLOB}/index")
@example(f"es1/a+b/b/{BLOB}/index")
@example("es1/other/d/acme.b1/desired")
def test_any_text_is_malformed_or_a_topic_that_builds_the_same_text(text: str) -> None:
    try:
        topic = topics.parse(text)
    except MalformedMessageError:
        return
    assert built(topic) == text


@pytest.mark.parametrize(
    "text",
    [
        topics.kick(topics.firmware("acme"), BLOB),
        topics.piece(topics.firmware("acme"), BLOB, 3),
        topics.all_boards("acme", "desired"),
        topics.all_telemetry("acme"),
        *topics.all_indexes("acme"),
        f"es1/acme/d/acme.b1/c/{BLOB}",
        f"es1/acme/d/other.b1/c/{BLOB}/index",
        f"es1/acme/d/acme.b1/b/{BLOB}/index",
        f"es2/acme/b/{BLOB}/index",
        f"es1/acme/b/{BLOB}/-1/0",
        f"es1/acme/b/{BLOB}/{10**10}/0",
        f"es1/acme/b/{BLOB}/" + "9" * 100 + "/0",
        f"es1/acme/b/{BLOB.upper()}/index",
        f"es1/acme/b/{BLOB}/index/",
        "es1/acme/d/acme.b1/desired/",
        "es1/acme/d/acme.b1",
        "es1/other/d/acme.b1/desired",
        "es1/" + "a" * 200,
    ],
)
def test_what_carries_no_message_of_ours_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        topics.parse(text)


@given(LABELS, LABELS)
def test_a_device_is_its_fleet_and_its_board(fleet: str, board: str) -> None:
    device = ids.device_id(fleet, board)
    assert (ids.fleet_of(device), ids.board_of(device)) == (fleet, board)
    assert ids.parse_device(device) == device


@given(st.text(max_size=70))
@example("a.b.c")
@example("a.-b")
@example("a.b\n")
@example("A.b")
@example("ä.b")
@example(".b")
@example("a.")
@example("a." + "b" * 63)
@example("a.b/+")
def test_only_two_labels_with_one_dot_are_a_device(text: str) -> None:
    fleet, dot, board = text.partition(".")
    right = len(text) <= 64 and dot == "." and ids.is_label(fleet) and ids.is_label(board)
    if right:
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert ids.parse_device(text) == text
    else:
        with pytest.raises(MalformedMessageError):
            ids.parse_device(text)


@pytest.mark.parametrize("wrong", ["", "ab", "AB" * 16, "ab" * 32 + "\n", " " * 64, "gg" * 32, None, 7, ["ab" * 32]])
def test_only_lower_case_hex_of_the_right_length_is_a_digest_or_a_blob(wrong: object) -> None:
    for parse in (ids.parse_digest, ids.parse_blob):
        with pytest.raises(MalformedMessageError, match="hex digits"):
            parse(wrong)
    assert ids.parse_digest(ids.digest_of(b"x")) == ids.digest_of(b"x")
