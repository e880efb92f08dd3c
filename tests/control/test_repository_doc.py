"""What docs/fleet-repository.md shows is a fleet."""

from __future__ import annotations

import re
from pathlib import Path

from edgesync.control.desired import compile_fleet
from edgesync.control.repository import known_types, load
from edgesync.control.types import SourceFile

DOC = Path(__file__).parents[2] / "docs/fleet-repository.md"


def test_the_example_of_the_manual_is_valid():
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", DOC.read_text(), re.DOTALL)
    fleet = load({path: SourceFile(text.encode()) for path, text in blocks}, "doc", known_types())
    assert {device: wanted.release for device, wanted in compile_fleet(fleet).items()} == {
        "demo.b01": "v2",
        "demo.b02": "v1",
    }
