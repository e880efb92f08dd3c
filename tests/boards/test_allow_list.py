"""The allow-list of a board type: which paths a bundle may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.boards.allow import PATTERN_LIMIT, allows, pattern_problem

NAMES = st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("app/**", ["app/a", "app/a/b/c"], ["app", "apps/a", "x/app/a", "App/a"]),
        ("network/*.conf", ["network/a.conf", "network/.conf"], ["network/a/b.conf", "network/a.conf2", "a.conf"]),
        ("**", ["a", "a/b", ".hidden/x"], []),
        ("**/x.ini", ["x.ini", "a/x.ini", "a/b/x.ini"], ["a/y.ini", "x.ini/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a", "z", "b/a/z"]),
        ("a/**/b/**", ["a/b/c", "a/x/b/y", "a/b/b"], ["a/b", "a/x/y"]),
        ("?.[ch]", ["a.c", "b.h"], ["ab.c", "a.o", "a/b.c"]),
        ("exact/file", ["exact/file"], ["exact/file2", "exact", "exact/file/x"]),
    ],
)
def test_a_pattern_allows_what_it_says_and_nothing_else(pattern: str, inside: list[str], outside: list[str]) -> None:
    assert [path for path in inside + outside if allows([pattern], path)] == inside


@given(PATHS)
def test_a_path_is_allowed_by_itself_by_everything_and_by_all_that_is_below_its_directories(path: str) -> None:
    names = path.split("/")
    above = ["/".join([*names[:end], "**"]) for end in range(len(names))]
    for pattern in [path, "**", *above]:
        assert allows([pattern], path)
    assert not allows([f"{path}/**"], path)


@given(PATHS, st.lists(st.sampled_from(["a", "b", "*", "**", "?b", "*.*"]), min_size=1, max_size=6))
def test_one_more_pattern_never_allows_less(path: str, parts: list[str]) -> None:
    pattern = "/".join(parts)
    assert not pattern_problem(pattern)
    assert allows(["a/**", pattern], path) == (allows(["a/**"], path) or allows([pattern], path))


def test_nothing_is_allowed_without_a_pattern() -> None:
    assert not allows([], "a")


@pytest.mark.parametrize("pattern", ["", "/a", "a/", "a//b", "./a", "a/../b", "a**", "**a/b", "a\nb", "a" * 201])
def test_a_pattern_that_is_no_path_below_the_tree_is_told(pattern: str) -> None:
    assert pattern_problem(pattern)


def test_a_pattern_of_stars_is_decided_without_trying_every_way() -> None:
    assert not allows(["*a" * (PATTERN_LIMIT // 2)], "a" * 199 + "b")
    assert not allows(["/".join(["**", "a"] * 40)], "/".join(["a"] * 99 + ["b"]))
