"""Messages: round trips, hostile documents, and versions that are not ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.wire import codec, errors, fields
from edgesync.wire.bundle import BUNDLE_LIMIT
from edgesync.wire.errors import DETAIL_LIMIT, EdgesyncError, MalformedMessageError
from edgesync.wire.ids import BlobId, DeviceId, Digest
from edgesync.wire.messages import (
    COMPONENT_LIMIT,
    ConfigPhase,
    ConfigReport,
    ConfigTarget,
    Desired,
    ErrorReport,
    Manners,
    Phase,
    Reported,
    Source,
    Target,
    Traffic,
)


def text(limit: int = 200, least: int = 0) -> st.SearchStrategy[str]:
    return st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=least, max_size=min(limit, 24)
    )


COUNTS = st.integers(0, fields.INTEGER_LIMIT - 1)
DIGESTS = st.integers(0, 2**256 - 1).map(lambda n: Digest(f"{n:064x}"))
BLOBS = st.integers(0, 2**128 - 1).map(lambda n: BlobId(f"{n:032x}"))
DEVICES = st.sampled_from([DeviceId("acme.b1"), DeviceId("a.b"), DeviceId("a-b.c-d")])
SOURCES = st.builds(Source, st.just("full"), BLOBS, COUNTS, st.none(), text()) | st.builds(
    Source, st.just("delta"), BLOBS, COUNTS, DIGESTS, text()
)
TARGETS = st.lists(
    st.builds(Target, text(32), text(64), COUNTS, DIGESTS, st.none() | SOURCES),
    min_size=1,
    max_size=3,
    unique_by=lambda target: target.component,
).map(tuple)
COMMON = (DEVICES, COUNTS, text(64), text(64), text(64))
MANNERS = st.builds(Manners, COUNTS, COUNTS, COUNTS, st.integers(1, 100), COUNTS)
CONFIG = st.builds(
    ConfigTarget, DIGESTS, st.integers(0, BUNDLE_LIMIT), st.sampled_from(["", "rootfs >= 1.10"]), st.none() | SOURCES
)
DESIRED = (
    st.builds(Desired, *COMMON, TARGETS, st.just(""), COUNTS, st.none() | CONFIG, MANNERS)
    | st.builds(Desired, *COMMON, st.just(()), st.just(""), COUNTS, CONFIG)
    | st.builds(Desired, *COMMON, st.just(()), text(least=1), COUNTS, st.none(), MANNERS)
)
ERRORS = st.builds(ErrorReport, text(64), text())
REPORTS_OF_CONFIG = st.builds(
    ConfigReport, st.just("") | DIGESTS, st.sampled_from(ConfigPhase), st.none() | ERRORS, COUNTS
)
REPORTED = st.builds(
    Reported,
    DEVICES,
    COUNTS,
    text(64),
    text(16),
    st.booleans(),
    st.dictionaries(text(32), DIGESTS, max_size=3),
    st.sampled_from(Phase),
    COUNTS,
    text(64),
    COUNTS,
    COUNTS,
    st.none() | ERRORS,
    st.lists(BLOBS, max_size=2).map(tuple),
    st.lists(DIGESTS, max_size=2).map(tuple),
    st.builds(Traffic, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    text(32),
    COUNTS,
    st.booleans(),
    st.none() | REPORTS_OF_CONFIG,
    COUNTS,
    st.booleans(),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DIGEST, BLOB = Digest("ab" * 32), BlobId("cd" * 16)
DELTA = Source("delta", BLOB, 10, DIGEST, "https://example.org/b")
WANTED = Desired(
    DeviceId("acme.b1"),
    7,
    "0" * 40,
    "r1",
    "v2",
    (Target("rootfs", "2", 9, DIGEST, DELTA),),
    config=ConfigTarget(DIGEST, 90, "rootfs >= 2", DELTA),
    manners=Manners(budget=1_000_000, share=50),
)
TOLD = Reported(
    DeviceId("acme.b1"),
    3,
    "boot",
    "a",
    confirmed=True,
    images={"rootfs": DIGEST},
    phase=Phase.WAITING,
    error=ErrorReport("DiskFull", "x"),
    missing=(BLOB,),
    quarantine=(DIGEST,),
    config=ConfigReport(DIGEST, ConfigPhase.FAILED, ErrorReport("CheckFailed", "x"), 2),
    month=12,
)


def travelled(value: dict[str, Any]) -> dict[str, Any]:
    return codec.parse_object(codec.canonical(value))


@given(DESIRED)
def test_a_desired_state_survives_the_wire(desired: Desired) -> None:
    assert Desired.from_dict(travelled(desired.to_dict())) == desired


@given(REPORTED)
def test_a_report_survives_the_wire(reported: Reported) -> None:
    assert Reported.from_dict(travelled(reported.to_dict())) == reported


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], news: Any) -> Any:
    if not path:
        return news
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = news
    return value


@pytest.mark.parametrize("message", [WANTED, TOLD])
@given(st.data())
def test_a_message_with_anything_in_any_place_is_a_value_that_travels_again_or_malformed(
    message: Desired | Reported, data: st.DataObject
) -> None:
    plain = message.to_dict()
    wrong = changed(plain, data.draw(st.sampled_from(places(plain)[1:])), data.draw(JSON))
    try:
        read = type(message).from_dict(wrong)
    except MalformedMessageError:
        return
    assert type(message).from_dict(travelled(read.to_dict())) == read


@pytest.mark.parametrize("kind", [Desired, Reported])
@given(st.dictionaries(st.sampled_from([*WANTED.to_dict(), *TOLD.to_dict()]), JSON))
def test_any_object_is_a_message_or_malformed(kind: type[Desired | Reported], value: dict[str, Any]) -> None:
    try:
        kind.from_dict(value)
    except MalformedMessageError:
        pass


@pytest.mark.parametrize("key", ["device", "targets", "images", "error", "version", "phase"])
def test_no_depth_that_json_can_be_read_with_breaks_a_reader(key: str) -> None:
    for depth in range(1, 1100, 7):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = f'{{"{key}":{opening * depth}0{closing * depth}}}'.encode()
            try:
                value = codec.parse_object(nested)
            except MalformedMessageError:
                continue
            for kind, message in ((Desired, WANTED), (Reported, TOLD)):
                with pytest.raises(MalformedMessageError):
                    kind.from_dict({**message.to_dict(), "phase": "none", "hold": "x", **value})


MUST = {
    Desired: ["device", "version", "revision", "rollout", "release"],
    Reported: ["device", "counter", "boot_id", "slot", "phase"],
}


@pytest.mark.parametrize(
    ("message", "key"), [(m, key) for m in (WANTED, TOLD) for key in MUST[type(m)]], ids=lambda v: str(v)[:8]
)
def test_a_message_without_what_it_must_say_names_the_field(message: Desired | Reported, key: str) -> None:
    value = message.to_dict()
    del value[key]
    with pytest.raises(MalformedMessageError, match=f"'{key}'"):
        type(message).from_dict(value)


@pytest.mark.parametrize("message", [WANTED, TOLD])
def test_a_newer_version_may_say_more(message: Desired | Reported) -> None:
    assert type(message).from_dict({**message.to_dict(), "colour": {"deep": [1]}}) == message


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v.update(hold="stay"),
        lambda v: (v.update(targets=[]), v.pop("config")),
        lambda v: v.update(targets=v["targets"] * 2),
        lambda v: v.update(targets=[{**v["targets"][0], "component": str(n)} for n in range(COMPONENT_LIMIT + 1)]),
        lambda v: v.update(targets=["rootfs"]),
        lambda v: v.update(version=True),
        lambda v: v.update(version=7.0),
        lambda v: v.update(version=-1),
        lambda v: v.update(version=1 << 53),
        lambda v: v.update(version="7"),
        lambda v: v.update(release="x" * 65),
        lambda v: v.update(release="a\0b"),
        lambda v: v.update(release="\ud800"),
        lambda v: v["targets"][0]["source"].update(kind="magic"),
        lambda v: v["targets"][0]["source"].update(kind="full"),
        lambda v: v["targets"][0]["source"].pop("base"),
        lambda v: v["targets"][0]["source"].update(base=None),
        lambda v: v["targets"][0]["source"].update(url="x" * 201),
        lambda v: v["targets"][0].update(source=None),
        lambda v: v["targets"][0].update(sha256="AB" * 32),
        lambda v: v["config"].update(requires="rootfs"),
        lambda v: v["config"].update(length=BUNDLE_LIMIT + 1),
        lambda v: v["config"].update(sha256=None),
        lambda v: v.update(hold="stop", targets=[]),
        lambda v: v["manners"].update(share=0),
        lambda v: v["manners"].update(share=101),
        lambda v: v["manners"].update(budget=-1),
    ],
)
def test_a_desired_state_that_contradicts_itself_is_malformed(spoil: Callable[[dict[str, Any]], object]) -> None:
    value = copy.deepcopy(WANTED.to_dict())
    spoil(value)
    with pytest.raises(MalformedMessageError):
        Desired.from_dict(value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v.update(phase="resting"),
        lambda v: v.update(images={f"c{n}": DIGEST for n in range(COMPONENT_LIMIT + 1)}),
        lambda v: v.update(images={"\ud800": DIGEST}),
        lambda v: v.update(images={"rootfs": "x"}),
        lambda v: v.update(missing=[BLOB] * (COMPONENT_LIMIT + 1)),
        lambda v: v.update(missing=[DIGEST]),
        lambda v: v.update(quarantine=BLOB),
        lambda v: v["traffic"].update(blob=-1),
        lambda v: v.update(traffic=[]),
        lambda v: v["error"].update(detail="x" * (DETAIL_LIMIT + 1)),
        lambda v: v.update(error="DiskFull"),
    ],
)
def test_a_report_that_no_board_can_have_written_is_malformed(spoil: Callable[[dict[str, Any]], object]) -> None:
    value = copy.deepcopy(TOLD.to_dict())
    spoil(value)
    with pytest.raises(MalformedMessageError):
        Reported.from_dict(value)


@pytest.mark.parametrize("claim", ["yes", 1, [True], None, "true"])
def test_nothing_but_true_is_a_confirmation(claim: object) -> None:
    assert Reported.from_dict({**TOLD.to_dict(), "confirmed": claim}).confirmed is False


@given(st.text(max_size=300))
@example("half a pair: \ud800 and a NUL: \0")
@example("😀" * 300)
def test_an_error_with_any_text_can_be_reported(said: str) -> None:
    told = replace(TOLD, error=ErrorReport.of(errors.StorageError(said)))
    assert Reported.from_dict(travelled(told.to_dict())) == told


def test_an_ordinary_message_is_far_below_a_kilobyte() -> None:
    for message in (WANTED, TOLD):
        assert len(codec.pack(codec.canonical(message.to_dict()))) < 400


def test_every_error_is_found_by_its_name_and_says_what_to_do() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EdgesyncError)]
    for kind in kinds:
        if kind is EdgesyncError:
            continue
        error = kind("what was found")
        assert errors.by_name(error.name) is kind
        assert kind.__name__ == f"{error.name}Error"
        assert kind.__doc__
        assert str(error).startswith("what was found")
        assert kind.hint in str(error)
    assert errors.by_name("OfTheFuture") is None


def test_the_names_of_errors_are_protocol() -> None:
    """An older server or board knows these: a new name may be added, none may go."""
    names = (
        "MessageTooLarge MalformedMessage ForgedMessage StaleMessage UnknownFormat Link QueueFull BlobMissing "
        "BlobWithdrawn BlobCorrupt BaseModified DeltaCorrupt ResultMismatch DiskFull Storage WorkerDied WorkerStalled "
        "BootFailed ProbeFailed Quarantined ClockJumped BuildFailed Config NotReachable"
    )
    assert [name for name in names.split() if errors.by_name(name) is None] == []


def test_the_fields_of_a_message_are_protocol() -> None:
    """What a board of today writes and reads, byte for byte: a change here is a change of the protocol."""
    assert codec.canonical(WANTED.to_dict()).decode() == json.dumps(
        {
            "config": {
                "length": 90,
                "requires": "rootfs >= 2",
                "sha256": DIGEST,
                "source": {
                    "base": DIGEST,
                    "blob": BLOB,
                    "kind": "delta",
                    "length": 10,
                    "url": "https://example.org/b",
                },
            },
            "device": "acme.b1",
            "hold": "",
            "manners": {"budget": 1_000_000, "share": 50},
            "release": "v2",
            "retry": 0,
            "revision": "0" * 40,
            "rollout": "r1",
            "targets": [
                {
                    "component": "rootfs",
                    "length": 9,
                    "sha256": DIGEST,
                    "source": {
                        "base": DIGEST,
                        "blob": BLOB,
                        "kind": "delta",
                        "length": 10,
                        "url": "https://example.org/b",
                    },
                    "version": "2",
                }
            ],
            "version": 7,
        },
        separators=(",", ":"),
    )
