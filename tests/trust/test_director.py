"""`desired` between a director and a board that are both honest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_fleet import DAY, NOW, Fleet, verify

from edgesync.trust import director
from edgesync.wire import codec
from edgesync.wire.errors import ConfigError, MalformedMessageError, MessageTooLargeError
from edgesync.wire.ids import BlobId, DeviceId, digest_of
from edgesync.wire.messages import COMPONENT_LIMIT, ConfigTarget, Desired, Manners, Source, Target

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(0, (1 << 53) - 1)
digests = st.binary(max_size=4).map(digest_of)
blobs = digests.map(lambda digest: BlobId(digest[:32]))
sources = st.none() | st.one_of(
    st.builds(Source, st.just("delta"), blobs, numbers, digests, texts),
    st.builds(Source, st.just("full"), blobs, numbers, st.none(), texts),
)
targets = st.lists(
    st.builds(Target, texts, texts, numbers, digests, sources), min_size=1, max_size=4, unique_by=lambda t: t.component
).map(lambda found: tuple(sorted(found, key=lambda t: t.component)))
configs = st.builds(ConfigTarget, digests, st.integers(0, 1 << 20), st.sampled_from(["", "rootfs >= 2"]), sources)
manners = st.builds(Manners, numbers, numbers, numbers, st.integers(1, 100), numbers)
states = st.one_of(
    st.builds(
        Desired,
        st.just(DeviceId("acme.b1")),
        numbers.filter(bool),
        texts,
        texts,
        texts,
        targets,
        retry=numbers,
        config=st.none() | configs,
        manners=manners,
    ),
    st.builds(Desired, st.just(DeviceId("acme.b1")), numbers.filter(bool), texts, texts, texts, config=configs),
    st.builds(
        Desired, st.just(DeviceId("acme.b1")), numbers.filter(bool), texts, texts, texts, hold=texts.filter(bool)
    ),
)


@given(states)
def test_a_board_reads_exactly_what_the_director_signed(fleet: Fleet, desired: Desired) -> None:
    assert verify(fleet, director.sign_desired(desired, fleet.director, NOW + DAY)) == desired


def test_components_come_back_sorted(fleet: Fleet, desired: Desired) -> None:
    turned = replace(desired, targets=desired.targets[::-1])
    assert verify(fleet, director.sign_desired(turned, fleet.director, NOW + DAY)) == desired


def test_two_components_with_deltas_and_a_url_take_less_than_700_bytes(fleet: Fleet, desired: Desired) -> None:
    first = desired.targets[0]
    assert first.source is not None
    url = "https://firmware.example.org/acme/" + digest_of(b"blob")[:32]
    with_url = replace(desired, targets=(replace(first, source=replace(first.source, url=url)), *desired.targets[1:]))
    assert len(director.sign_desired(with_url, fleet.director, NOW + DAY)) < 700


def test_a_changed_line_of_config_takes_less_than_600_bytes(fleet: Fleet, desired: Desired) -> None:
    same = tuple(replace(target, source=None) for target in desired.targets)
    source = Source("delta", BlobId(digest_of(b"blob")[:32]), 90, digest_of(b"old"))
    config = ConfigTarget(digest_of(b"new"), 4000, "", source)
    signed = director.sign_desired(replace(desired, targets=same, config=config), fleet.director, NOW + DAY)
    assert len(signed) < 600


def test_the_most_components_still_fit_into_a_message(fleet: Fleet, desired: Desired) -> None:
    many = tuple(
        Target(
            f"c{n:02}",
            "2026.11.1",
            1 << 30,
            digest_of(b"new %d" % n),
            Source("delta", BlobId(digest_of(b"blob %d" % n)[:32]), 1 << 20, digest_of(b"old %d" % n)),
        )
        for n in range(COMPONENT_LIMIT)
    )
    full = replace(desired, targets=many)
    assert verify(fleet, director.sign_desired(full, fleet.director, NOW + DAY)) == full


def test_the_same_version_may_arrive_twice(fleet: Fleet, desired: Desired) -> None:
    message = director.sign_desired(desired, fleet.director, NOW + DAY)
    assert verify(fleet, message, floor=desired.version) == desired


def test_the_same_state_gives_the_same_bytes(fleet: Fleet, desired: Desired) -> None:
    first, second = (director.sign_desired(desired, fleet.director, NOW + DAY) for _ in range(2))
    assert first == second


def test_a_message_is_valid_until_the_second_it_expires(fleet: Fleet, desired: Desired) -> None:
    message = director.sign_desired(desired, fleet.director, NOW)
    assert verify(fleet, message, now=NOW - 0.5) == desired


def test_what_no_board_would_accept_is_not_signed(fleet: Fleet, desired: Desired) -> None:
    with pytest.raises(MalformedMessageError, match="version 0"):
        director.sign_desired(replace(desired, version=0), fleet.director, NOW)
    with pytest.raises(MessageTooLargeError):
        director.sign_desired(replace(desired, revision="x" * codec.PLAIN_LIMIT), fleet.director, NOW)


def test_a_root_without_a_key_for_the_director_is_not_made(fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="public key"):
        director.create_root("none", fleet.root_signer, NOW)
