"""`edgesync report`: a page about a rollout that is in the lake, and a clear word about one that is not."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from analysis_parts import board, fill

from edgesync.cli.main import main

SAMPLE = Path(__file__).parents[2] / "notebooks" / "data"


def test_a_report_is_the_notebook_with_its_results_and_a_page_without_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "r-000042", "--lake", str(SAMPLE), "-o", str(tmp_path / "out")]) == 0
    notebook, page = (tmp_path / "out" / f"r-000042.{kind}" for kind in ("ipynb", "html"))
    assert capsys.readouterr().out.split() == [str(notebook), str(page)]
    outputs = [output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    text = page.read_text()
    assert "acme.gate-03" in text
    assert "nothing stands out" in text
    assert ' src="http' not in text
    assert "<link" not in text


@pytest.mark.parametrize("name", ["r-2", "../r-1"])
def test_a_rollout_that_the_lake_does_not_know_is_answered_with_those_that_it_does(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = fill(tmp_path / "lake", board("acme.a"))
    assert main(["report", name, "--lake", str(lake), "-o", str(tmp_path / "out")]) == 1
    assert f"{name}: not in the lake {lake}, which knows r-1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_notebook_that_fails_says_of_what_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("lake = ''", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("raise KeyError(rollout)"),
        ]
    )
    nbformat.write(broken, tmp_path / "broken.ipynb")
    given = ["--notebook", str(tmp_path / "broken.ipynb"), "-o", str(tmp_path / "out")]
    assert main(["report", "r-000042", "--lake", str(SAMPLE), *given]) == 1
    assert "broken.ipynb: KeyError: 'r-000042'" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_notebook_that_is_not_there_or_takes_no_parameters_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[]), tmp_path / "empty.ipynb")
    for name, told in (("gone.ipynb", "no such notebook"), ("empty.ipynb", "no cell with the tag `parameters`")):
        assert main(["report", "r-000042", "--lake", str(SAMPLE), "--notebook", str(tmp_path / name)]) == 1
        assert told in capsys.readouterr().err
