"""docs/collector.md says what is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from collector_ext.config import parse
from collector_ext.registry import EntryPoints
from collector_ext.settings.load import load

DOC = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()


def test_the_configurations_of_the_page_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", DOC, re.DOTALL)
    assert blocks
    for name, text in blocks:
        (tmp_path / name).write_text(text)
        assert parse(asyncio.run(load([str(tmp_path / name)])), EntryPoints()).service.extensions
