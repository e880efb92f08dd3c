"""docs/collector.md says what is, and so do its neighbours."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from collector_ext.config import parse
from collector_ext.registry import EntryPoints
from collector_ext.settings.load import load
from edgesync.control.scaffold import Setup, write

DOCS = Path(__file__).parents[2] / "docs"
DOC = (DOCS / "collector.md").read_text()


def test_the_configurations_of_the_page_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", DOC, re.DOTALL)
    assert blocks
    for name, text in blocks:
        (tmp_path / name).write_text(text)
        assert parse(asyncio.run(load([str(tmp_path / name)])), EntryPoints()).service.extensions


def test_the_file_that_brings_the_servers_spans_into_the_lake_goes_over_the_one_of_init(tmp_path: Path) -> None:
    write(tmp_path / "lab", Setup("demo", 1, "localhost", 8883, None), 0.0)
    (block,) = re.findall(r"```yaml\n# server.yaml\n(.*?)```", (DOCS / "notebooks.md").read_text(), re.DOTALL)
    (tmp_path / "server.yaml").write_text(block)
    files = [str(tmp_path / "lab" / "collector" / "collector.yaml"), str(tmp_path / "server.yaml")]
    pipelines = parse(asyncio.run(load(files)), EntryPoints()).service.pipelines
    assert [*map(str, pipelines["traces"].receivers)] == ["mqtt", "otlp"]
    assert [*map(str, pipelines["metrics"].exporters)] == ["parquet"]
