"""Notebooks are reviewed as Python and read with their pictures: both say the same. nbmake runs them (`notebooks/`)."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
SIZE_LIMIT = 400_000
"""Bytes of a notebook with its pictures."""

each = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def pictured(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_there_are_notebooks_and_each_has_its_source() -> None:
    assert SOURCES
    assert sorted(NOTEBOOKS.glob("*.ipynb")) == [source.with_suffix(".ipynb") for source in SOURCES]


@each
def test_source_and_notebook_are_in_step(source: Path) -> None:
    def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, list[str]]]:
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]

    assert cells(jupytext.read(source)) == cells(pictured(source))


@each
def test_a_notebook_asks_has_parameters_and_checks_what_it_found(source: Path) -> None:
    notebook = pictured(source)
    assert notebook.cells[0].source.splitlines()[0].startswith("# ")
    assert notebook.cells[0].source.splitlines()[0].endswith("?")
    assert [cell.metadata.get("tags") for cell in notebook.cells].count(["parameters"]) == 1
    assert "assert " in notebook.cells[-1].source


@each
def test_a_notebook_is_kept_with_its_pictures_and_without_errors(source: Path) -> None:
    outputs = [output for cell in pictured(source).cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)
    assert source.with_suffix(".ipynb").stat().st_size <= SIZE_LIMIT
