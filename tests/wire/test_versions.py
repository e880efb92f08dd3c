"""Versions are ordered as people read them, and a requirement is a component, a relation and one of them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.versions import Requirement, compare, parse

ASCENDING = ["1", "1.rc1", "1.rc2", "1.2", "1.9", "1.10", "1.10-a", "1.10.1", "2", "10"]
VERSIONS = st.text(st.sampled_from("019.-abc~+"), min_size=1, max_size=8)


@pytest.mark.parametrize(("older", "newer"), list(combinations(ASCENDING, 2)))
def test_numbers_compare_as_numbers_and_words_come_before_them(older: str, newer: str) -> None:
    assert compare(older, newer) < 0 < compare(newer, older)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_any_versions_are_ordered(one: str, two: str, three: str) -> None:
    assert compare(one, one) == 0
    assert compare(one, two) == -compare(two, one)
    if compare(one, two) <= 0 and compare(two, three) <= 0:
        assert compare(one, three) <= 0


@pytest.mark.parametrize(
    ("text", "version", "accepted"),
    [
        ("firmware >= 1.10", "1.10", True),
        ("firmware >= 1.10", "1.9", False),
        ("firmware>1.10", "1.10", False),
        ("firmware > 1.10", "1.11", True),
        ("firmware == 2", "2", True),
        ("firmware == 2", "3", False),
    ],
)
def test_a_requirement_accepts_what_it_says(text: str, version: str, accepted: bool) -> None:
    requirement = parse(text)
    assert requirement.accepts(version) is accepted
    assert parse(str(requirement)) == requirement


@pytest.mark.parametrize(
    "text",
    [
        "",
        "firmware",
        "firmware >=",
        ">= 1",
        "firmware < 1",
        "firmware => 1",
        "Firm >= 1",
        "a >= " + "1" * 65,
    ],
)
def test_what_is_no_requirement_says_what_one_is(text: str) -> None:
    with pytest.raises(MalformedMessageError, match=r"firmware >= 1\.10"):
        parse(text)


def test_a_requirement_may_name_a_version_with_a_space_in_it() -> None:
    assert parse("rootfs == 2 beta") == Requirement("rootfs", "==", "2 beta")
