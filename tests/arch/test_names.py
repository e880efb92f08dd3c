"""Tests are imported by their names alone, so two of one name cannot run together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent


def test_no_two_test_modules_have_one_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("test_*.py") if "example_component" not in path.parts)
    assert names
    assert [name for name, count in names.items() if count > 1] == []
