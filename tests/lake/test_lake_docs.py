"""docs/lake.md and docs/notebooks.md say what is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collector_ext.lake.schema import TABLES

ROOT = Path(__file__).parents[2]
LAKE, NOTEBOOKS = ((ROOT / "docs" / name).read_text() for name in ("lake.md", "notebooks.md"))


def test_the_tables_of_the_page_are_those_of_the_schema() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", LAKE, re.MULTILINE)
    told = {name: (tuple(order.split(", ")), columns.split(", ")) for name, order, columns in rows}
    assert told == {name: (table.order, table.schema.names) for name, table in TABLES.items()}


def test_the_page_names_every_notebook_and_the_question_that_it_asks() -> None:
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+\?) \|", NOTEBOOKS, re.MULTILINE))
    sources = (ROOT / "notebooks").glob("*.py")
    titles = {path.stem: re.search(r"^# # (.+)$", path.read_text(), re.MULTILINE) for path in sources}
    asked = {name: title[1] for name, title in titles.items() if title}
    assert told == asked


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    example = re.findall(r"```python\n(from collector_ext\.analysis.*?)```", NOTEBOOKS, re.DOTALL)[0]
    exec(example, {})
    assert "silent" in capsys.readouterr().out
